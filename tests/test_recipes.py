"""Every link-context recipe runs from its config to its result, on the tiny model and a miniature of its data."""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from mllm.models.builder import load_model, load_preprocessor
from mllm.utils.weights import save_weights
from tests.miniature import write_miniature
from tests.models.hf_vlm.kinds import KINDS, make_folder

ROOT = Path(__file__).parents[1]
EMOJI = ROOT / 'data' / 'emoji'
TRAIN = ('lcl_train_2way_random', 'lcl_train_2way_weight', 'lcl_train_mix1', 'lcl_train_mix2')
EVALUATE = {
    'lcl_eval_ISEKAI_10': ('ISEKAI_10', 2),
    'lcl_eval_ISEKAI_pair': ('ISEKAI_pair', 18),
    'lcl_eval_test100': ('ImageNet_100', 4),
}
PUBLISHED = {'lcl_lora_smolvlm': 'smolvlm', 'lcl_lora_qwen3_vl': 'qwen3_vl'}
"""Recipes for a published model, and its type."""
SHOTS = range(1, 9)
CLASSES = 4
IMAGES = 10

Recipe = Callable[..., dict[str, dict[str, Any]]]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def pictures() -> Iterator[list[bytes]]:
    """So many pictures for each class; two emoji concepts make a class, because one has too few."""
    rows = [json.loads(line) for line in (EMOJI / 'train_pairs.jsonl').read_text().splitlines()]
    with zipfile.ZipFile(EMOJI / 'images.zip') as archive:
        for number in range(0, 2 * CLASSES, 2):
            paths = [path for row in rows[number : number + 2] for path in row['samples']]
            yield [archive.read(path) for path in paths[:IMAGES]]


@pytest.fixture(scope='module')
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MLLM_DATA names: ImageNet with its files of pairs, ISEKAI-10 with rows, ISEKAI-pair as class folders."""
    root = tmp_path_factory.mktemp('data')
    write_miniature(root)  # the other tasks of the mixtures
    names = [f'n0000000{number}' for number in range(CLASSES)]
    for name, images in zip(names, pictures(), strict=True):
        for number, content in enumerate(images):
            targets = [root / 'imagenet' / 'train' / name / f'{number}.JPEG']
            if name in names[:2]:
                targets.append(root / 'ISEKAI-10' / name / f'{number}.png')
                targets += [root / 'ISEKAI-pair' / name / f'{number}.png'] * (number < 9)
            for path in targets:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    samples = {name: [f'train/{name}/{number}.JPEG' for number in range(IMAGES)] for name in names}
    ids = [{'class_id': str(number), 'class_name': f'Thing_{number}'} for number in range(CLASSES)]
    train = [
        {
            **row,
            'samples': samples[name],
            'neighbors': [
                [other['class_id'], other['class_name'], samples[neighbour][0]]
                for other, neighbour in zip(ids, names, strict=True)
                if neighbour != name
            ],
        }
        for row, name in zip(ids, names, strict=True)
    ]
    test = [
        {**row, 'context_samples': samples[name][:8], 'test_samples': samples[name][8:]}
        for row, name in list(zip(ids, names, strict=True))[:2]
    ]
    write_lines(root / 'imagenet_lcl' / 'train900_pairs.jsonl', train)
    write_lines(root / 'imagenet_lcl' / 'test100_pairs.jsonl', test)
    isekai = [[f'{name}/{number}.png' for number in range(IMAGES)] for name in names[:2]]
    labels = ('Icemic', 'ice cream')
    rows = [
        {
            'image_name': paths[9],
            'positive_list': isekai[0][:9],
            'negative_list': isekai[1][:9],
            'positive_promt': labels[0],
            'negative_promt': labels[1],
            'label_name': label,
        }
        for paths, label in zip(isekai, labels, strict=True)
    ]
    write_lines(root / 'ISEKAI-10' / 'ISEKAI-10.json', rows)
    return root


@pytest.fixture
def recipe(data_root: Path, run_recipe: Recipe) -> Recipe:
    """Runs a recipe of `config/` with the tiny model in place of its own."""

    def start(name: str, **model_args: Any) -> dict[str, dict[str, Any]]:
        words = ['--cfg-options', 'data_args.gen_kwargs.max_new_tokens=2'] if name in EVALUATE else []
        return run_recipe(data_root, name, *words, **model_args)

    return start


def test_training_recipes(recipe: Recipe, tmp_path: Path, losses: Callable[[Path], list[float]]):
    recipe('lcl_train_2way')
    for name in TRAIN:
        # Two of them go on from a [2-way] model.
        start = {'model_name_or_path': str(tmp_path / 'lcl_train_2way')} if '2way' in name else {}
        recipe(name, **start)
    for name in ('lcl_train_2way', *TRAIN):
        assert (tmp_path / name / 'checkpoint-2' / 'model.safetensors').is_file()
        assert all(0 < loss < 20 for loss in losses(tmp_path / name))
        assert losses(tmp_path / name)


@pytest.mark.parametrize('name', EVALUATE)
def test_an_evaluation_recipe_fills_a_row_of_the_table(recipe: Recipe, tmp_path: Path, read_jsonl: Any, name: str):
    results = recipe(name)
    entry, count = EVALUATE[name]
    assert list(results) == [f'multitest_{entry}_{shot}' for shot in SHOTS]
    for shot, (prefix, numbers) in zip(SHOTS, results.items(), strict=True):
        assert numbers[f'{prefix}_n'] == count
        rows = read_jsonl(tmp_path / name / f'{prefix}_extra_prediction.jsonl')
        assert {len(row['meta']['support']) for row in rows} == {2 * shot}
        assert not any('dropped_supports' in row['meta'] for row in rows)


def test_every_link_context_recipe_is_tested():
    recipes = {path.stem for path in (ROOT / 'config').glob('lcl_*.py')}
    assert recipes == {'lcl_train_2way', *TRAIN, *EVALUATE, *PUBLISHED}


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_recipe_for_a_published_model_runs_on_a_tiny_one_of_its_class(
    name: str, data_root: Path, run_recipe: Recipe, tmp_path: Path, losses: Callable[[Path], list[float]]
):
    """A folder laid out like the published one, with weights of its own, is all that is put in its place."""
    model_type = PUBLISHED[name]
    folder = make_folder(tmp_path / 'published', model_type)
    config = {'model_type': model_type, **KINDS[model_type].config}
    arguments = {'type': 'hf_vlm', 'processor': str(folder), 'config': config}
    save_weights(load_model(arguments, load_preprocessor(arguments)), str(folder))
    words = ['--gradient_accumulation_steps', '1', '--cfg-options', 'data_args.gen_kwargs.max_new_tokens=2']
    results = run_recipe(data_root, name, *words, own_model=True, model_name_or_path=str(folder))
    assert list(results) == [f'multitest_ImageNet_100_{shot}' for shot in (1, 4, 8)]
    assert all(numbers[f'{prefix}_n'] == 4 for prefix, numbers in results.items())
    assert all(0 < loss < 20 for loss in losses(tmp_path / name))
    assert losses(tmp_path / name)
    learnt = load_file(tmp_path / name / 'model.safetensors')
    assert learnt
    assert all('lora_' in key for key in learnt)
