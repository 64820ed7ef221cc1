"""The tiny model of this kind by config alone: train, resume, evaluate, and what its folder holds."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine import Config
from safetensors.torch import load_file

from mllm.config.config import prepare_args
from mllm.pipeline.finetune import run


@pytest.fixture
def train(write_config: Callable[..., Path], root: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """(output folder, flags, model_args) -> results of a run of three steps on the small world."""
    tiny = Config.fromfile(root / 'config/_base_/model/tiny_hf_vlm.py').to_dict()['model_args']

    def start(out: Path, *flags: object, **model_args: Any) -> dict[str, dict[str, Any]]:
        config = write_config(f'model_args = { ({"_delete_": True, **tiny, **model_args})!r}')
        return run(*prepare_args([str(word) for word in (config, '--output_dir', out, '--report_to', 'none', *flags)]))

    return start


@pytest.mark.parametrize('lora', [None, {'r': 2}])
def test_train_resume_evaluate(lora: Any, train: Any, tmp_path: Path, losses: Any, read_jsonl: Any):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    saving = ('--save_strategy', 'steps', '--save_steps', 2)
    results = train(whole, *saving, lora=lora)
    assert results['multitest_two']['multitest_two_n'] == 6
    assert all(0 < loss < 20 for loss in losses(whole))
    parts.mkdir()
    shutil.copytree(whole / 'checkpoint-2', parts / 'checkpoint-2')
    train(parts, *saving, lora=lora)
    first, second = (load_file(folder / 'model.safetensors') for folder in (whole, parts))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert {'processor_config.json', 'preprocessor_config.json', 'chat_template.jinja', 'tokenizer.json'} <= {
        path.name for path in whole.iterdir()
    }
    rows = read_jsonl(whole / 'multitest_two_extra_prediction.jsonl')
    again = {'adapter': str(whole)} if lora else {'model_name_or_path': str(whole), 'config': None, 'processor': None}
    train(tmp_path / 'again', '--do_train', 'false', lora=lora, **again)
    found = read_jsonl(tmp_path / 'again' / 'multitest_two_extra_prediction.jsonl')
    assert [row['pred'] for row in found] == [row['pred'] for row in rows]
    for row, other in zip(found, rows, strict=True):
        assert row['score'] == pytest.approx(other['score'], abs=1e-5)
