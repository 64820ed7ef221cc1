"""Every family, by config alone: trained whole, with adapters or in part, resumed, evaluated and exported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mllm.config.config import prepare_args
from mllm.models.adapters import merge_adapters
from mllm.models.builder import load_model, load_preprocessor
from mllm.pipeline.finetune import run
from mllm.pipeline.trained import model_of, open_model
from mllm.utils.weight_files import read_folder

ROOT = Path(__file__).parents[1]
LORA: dict[str, Any] = {'lora': {'r': 2}}
FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    'tiny_llava': {
        'full': {'freeze_vision_tower': False, 'freeze': [], 'feature_cache': None},
        'lora': {**LORA, 'freeze': []},
        'frozen': {'tune_mm_mlp_adapter': True},
    },
    **{
        family: {
            'full': {},
            'lora': LORA,
            'frozen': {'freeze_vision_tower': True, 'freeze_llm': True, 'tune_embeddings': embeddings},
        }
        for family, embeddings in (('tiny_flamingo', 'added'), ('tiny_otter', 'all'))
    },
    'tiny_hf_vlm': {'full': {}, 'lora': LORA, 'frozen': {'freeze': ['*'], 'tune': ['model.connector']}},
}
CASES = [(family, option) for family, options in FAMILIES.items() for option in options]


@pytest.fixture
def start(write_config_in: Callable[..., Path]) -> Callable[..., dict[str, Any]]:
    """Runs a family's tiny base on the small world in a folder; returns the metrics."""

    def launch(folder: Path, family: str, option: str, *words: str) -> dict[str, Any]:
        folder.mkdir(exist_ok=True)
        base = {**model_base(family), **FAMILIES[family][option]}
        path = write_config_in(folder, f'model_args = dict(_delete_=True, **{base!r})\n')
        argv = [str(path), '--output_dir', str(folder / 'run'), '--max_steps', '2', '--save_strategy', 'steps']
        argv += ['--load_best_model_at_end', '--metric_for_best_model', 'eval_loss', '--eval_strategy', 'steps']
        argv += [
            '--eval_steps',
            '1',
            '--save_steps',
            '1',
            '--report_to',
            'none',
            '--disable_tqdm',
            'true',
            '--learning_rate',
            '1e-3',
        ]
        return run(*prepare_args([*argv, *words]))

    return launch


def model_base(family: str) -> dict[str, Any]:
    return dict(model_of(str(ROOT / f'config/_base_/model/{family}.py')))


def predictions(folder: Path) -> list[tuple[str, dict[str, float]]]:
    lines = (folder / 'run' / 'multitest_two_extra_prediction.jsonl').read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row['pred'], row['score']) for row in rows]


def history(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / 'run' / 'trainer_state.json').read_text())['log_history']


@pytest.mark.parametrize(('family', 'option'), CASES, ids=map('-'.join, CASES))
def test_a_family_trains_resumes_evaluates_and_exports(
    start: Callable[..., dict[str, Any]], tmp_path: Path, family: str, option: str
):
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    trained = start(whole, family, option)['multitest_two']
    assert trained['multitest_two_n'] == 6
    assert torch.isfinite(torch.tensor(trained['multitest_two_loss']))
    # Stopped after its first step and started again, it ends in the same weights.
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / 'run' / 'checkpoint-2')
    for path in (cut / 'run').glob('*.safetensors'):
        path.unlink()
    start(cut, family, option)
    weights, again = read_folder(whole / 'run'), read_folder(cut / 'run')
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    first, second = (read_folder(whole / 'run' / f'checkpoint-{step}') for step in (1, 2))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    # The final model is the better of the two.
    losses = {entry['step']: entry['eval_loss'] for entry in history(whole) if 'eval_loss' in entry}
    best = first if losses[1] < losses[2] else second
    assert all(torch.equal(weights[name], best[name]) for name in weights)
    assert (option == 'lora') == any('lora_' in name for name in weights)
    # Evaluated later it answers as it did.
    answers = predictions(whole)
    start(whole, family, option, '--do_train', 'false')
    assert predictions(whole) == answers
    check_export(whole / 'run', tmp_path / 'out')


def check_export(folder: Path, out: Path) -> None:
    """The model that a run left, written whole and read by its path alone, computes the same."""
    args, opened = model_of(str(folder)), open_model(str(folder))
    model = opened.model
    merge_adapters(model)
    opened.family.export(model, opened.arguments, opened.preprocessor, 'mllm', str(out))
    plain = {key: value for key, value in args.items() if key not in ('lora', 'adapter', 'tokenizer')}
    other = {**plain, 'model_name_or_path': str(out)}
    again = load_model(other, load_preprocessor(other))
    state = again.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
