"""The runs on emoji scenes, from their data to a picture of their answers, on a few scenes and for a few steps."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mllm.config.config import load_config, prepare_args
from mllm.models.builder import load_preprocessor
from mllm.pipeline.finetune import run
from tools.show_boxes import main as show_boxes

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / 'data' / 'tiny_llava' / 'scenes'
TASKS = ('rec', 'reg', 'point_qa', 'choice', 'count', 'caption')


def load_tool(folder: str, name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / 'tools' / folder))
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / folder / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, with scenes of its own."""
    folder = tmp_path_factory.mktemp('checkout')
    shutil.copytree(ROOT / 'config', folder / 'config')
    (folder / 'data').mkdir()
    for name in ('emoji', 'tiny_llava'):
        (folder / 'data' / name).symlink_to(ROOT / 'data' / name)
    counts = {'train': 24, 'val': 4, 'test': 30, 'test_art': 30}
    load_tool('emoji', 'build_scenes').build(folder / 'data' / 'emoji_scenes', counts, 0, Console(quiet=True))
    return folder


def run_config(checkout: Path, name: str) -> tuple[dict[str, dict[str, Any]], Path]:
    folder = checkout / 'exp' / name
    steps = '--max_steps 2 --per_device_train_batch_size 4 --dataloader_num_workers 0 --disable_tqdm true'
    short = ['--cfg-options', 'data_args.gen_kwargs.max_new_tokens=3']
    path = checkout / 'config' / f'{name}.py'
    return run(*prepare_args([str(path), *steps.split(), '--output_dir', str(folder), *short])), folder


def test_rec_trains_and_its_answers_can_be_drawn(checkout: Path):
    results, folder = run_config(checkout, 'rec_tiny')
    kinds = ('name', 'colour', 'position', 'relation')
    expected = {f'multitest_rec_{kind}{art}' for kind in kinds for art in ('', '_unseen_art')}
    assert set(results) == {*expected, 'multitest_rec_name_blanked'}
    for prefix, metrics in results.items():
        assert metrics[f'{prefix}_n'] > 0
        assert 0 <= metrics[f'{prefix}_accuracy'] <= 1
    images, out = checkout / 'data' / 'emoji_scenes' / 'images.zip', folder / 'boxes.png'
    assert show_boxes([str(folder), 'multitest_rec_name', '--images', str(images), '--out', str(out)]) == 0
    assert out.stat().st_size > 1000


def test_all_six_tasks_train_in_one_mixture_and_are_scored(checkout: Path):
    results, folder = run_config(checkout, 'multitask_tiny')
    assert set(results) == {f'multitest_{task}{control}' for task in TASKS for control in ('', '_blanked')}
    for prefix, metrics in results.items():
        assert metrics[f'{prefix}_n'] > 0
        assert {f'{prefix}_accuracy', f'{prefix}_cider'} & set(metrics), prefix
    rows = [
        [json.loads(line) for line in (folder / f'multitest_rec{control}_extra_prediction.jsonl').open()]
        for control in ('', '_blanked')
    ]
    assert [row['target'] for row in rows[0]] == [row['target'] for row in rows[1]]


@pytest.fixture(scope='module')
def tokenizer() -> PreTrainedTokenizerBase:
    args = load_config(str(ROOT / 'config' / 'rec_tiny.py')).model_args
    return load_preprocessor(args).tokenizer


def test_the_committed_words_are_what_the_tool_builds(tmp_path: Path):
    load_tool('tiny_llava', 'train_scene_encoder').scene_tokenizer().save_pretrained(tmp_path)
    assert (tmp_path / 'tokenizer.json').read_text() == (ASSETS / 'tokenizer.json').read_text()
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == AutoTokenizer.from_pretrained(ASSETS).get_vocab()


def test_the_committed_embeddings_have_a_row_for_each_token(tokenizer: PreTrainedTokenizerBase):
    adapter = load_file(ASSETS / 'adapter.safetensors')
    assert adapter['embed_tokens.weight'].shape == (len(tokenizer), 96)
    assert adapter['position'].shape == (36, 96)


@pytest.mark.parametrize('start', [' USER: <image> ', '</s>USER: '])
@pytest.mark.parametrize(
    'text',
    [
        'Where is the left strawberry? ASSISTANT: Answer: {box} .',
        'Where is the bus right of the key? ASSISTANT: Answer: {box} .',
        'What is at {box}? ASSISTANT: the purple thing',
        'What color is this?{box} ASSISTANT: The answer is green .',
        'Which is the tree? Candidates: {box} {box} answer in box format. ASSISTANT: The answer is {box} .',
        'What can be seen, and where? ASSISTANT: an octopus{box} , two keys{box} and a car{box} .',
    ],
)
def test_a_word_is_a_token(tokenizer: PreTrainedTokenizerBase, start: str, text: str):
    """Spelt out letter by letter a question is learnt more slowly."""
    box = '<b_st><bin_0> <bin_8> <bin_16> <bin_32><b_ed>'
    pieces = tokenizer.tokenize(start + text.replace('{box}', box))
    assert [piece for piece in pieces if len(piece) == 1 and piece.isalnum()] == []


def test_the_encoder_tool_writes_what_a_run_reads(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tool = load_tool('tiny_llava', 'train_scene_encoder')
    tool.main(['--data', str(checkout / 'data' / 'emoji_scenes'), '--out', str(tmp_path), '--steps', '2'])
    assert 'features on things' in capsys.readouterr().out
    for name in ('tokenizer.json', 'vision/config.json', 'vision/preprocessor_config.json'):
        assert (tmp_path / name).read_text() == (ASSETS / name).read_text(), name
    built, kept = (load_file(folder / 'adapter.safetensors') for folder in (tmp_path, ASSETS))
    assert {name: value.shape for name, value in built.items()} == {name: value.shape for name, value in kept.items()}


def test_targets_of_the_encoder_are_where_things_are():
    tool = load_tool('tiny_llava', 'train_scene_encoder')
    names, sides = tool.cell_targets([(3, [16, 0, 48, 32]), (5, [70, 70, 90, 95])])
    grid = names.view(6, 6)
    assert grid[:2, 1:3].tolist() == [[3, 3], [3, 3]]
    assert grid[4, 4] == 5
    assert (grid == 3).sum() == 4
    assert grid[0, 0] == -1
    assert (sides.view(6, 6, 4)[0, 1] * 16).tolist() == [-8, -8, 24, 24]
