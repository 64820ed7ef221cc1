"""Every entry of the catalogue makes samples of a miniature of its data, and its metric takes their right answers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mmengine import Config

from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.metric.builder import build_metric
from mllm.models.builder import load_preprocessor
from mllm.registry import DATASETS
from mllm.types import Prediction, Preprocessor
from tests.miniature import write_miniature

ROOT = Path(__file__).parents[1]
BASES = ROOT / 'config/_base_/dataset'
ELSEWHERE = (
    'emoji.py',
    'emoji_scenes.py',
    'imagenet_lcl.py',
    'isekai.py',
    'lcl_mix.py',
    'shikra_mix.py',
    'shikra_tasks.py',
)
"""Tested with their own data, or made of the others."""
FILES = sorted(path.name for path in BASES.glob('*.py') if path.name not in ELSEWHERE)

Recipe = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope='module')
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data')
    write_miniature(root)
    return root


@pytest.fixture(scope='module')
def preprocessor() -> Preprocessor:
    return load_preprocessor(Config.fromfile(ROOT / 'config/_base_/model/tiny_llava.py').to_dict()['model_args'])


def entries(value: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """(dataset, entry of a test set or None) of all that an entry holds."""
    if not isinstance(value, dict):
        return
    if 'type' in value:
        if value['type'] in DATASETS:
            yield value, None
    elif 'cfg' in value:
        yield value['cfg'], value
    else:
        for other in value.values():
            yield from entries(other)


@pytest.mark.parametrize('name', FILES)
def test_entries(name: str, data_root: Path, preprocessor: Preprocessor, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('MLLM_DATA', str(data_root))
    base = Config.fromfile(BASES / name).to_dict()
    found = [pair for key, value in base.items() if key.isupper() for pair in entries(value)]
    assert found
    for cfg, test in found:
        source = DATASETS.build(cfg)
        assert list(source.problems()) == [], cfg
        for training in (False,) if test else (True,):
            data = SingleImageConvDataset(source, preprocessor, training=training)
            samples = [data[index] for index in range(len(data))]
            assert samples
        if test and test['compute_metric']:
            # METEOR starts a Java program for each; it has tests of its own.
            monkeypatch.setattr('mllm.metric.caption.meteor_scores', lambda wanted, given: None)
            right = [Prediction(sample.index, sample.target, sample.target, sample.meta) for sample in samples]
            right = json.loads(json.dumps([vars(prediction) for prediction in right]))
            numbers = build_metric(test['compute_metric']).compute([Prediction(**fields) for fields in right])
            assert numbers['parse_failures'] == 0, cfg
            assert numbers.get('accuracy', 1.0) == 1.0, (cfg, numbers)
            assert numbers.get('rouge_l', 1.0) == pytest.approx(1), cfg


FEW_SHOT = ('rec.py', 'vqa.py', 'flickr.py', 'pointqa.py', 'science_qa.py', 'instruct.py', 'visual7w.py')


@pytest.mark.parametrize('name', FEW_SHOT)
def test_any_of_them_becomes_few_shot(
    name: str, data_root: Path, preprocessor: Preprocessor, monkeypatch: pytest.MonkeyPatch
):
    """Their pool is another dataset, on other images."""
    monkeypatch.setenv('MLLM_DATA', str(data_root))
    base = Config.fromfile(BASES / name).to_dict()
    pool = Config.fromfile(BASES / 'caption.py').to_dict()['CAPTION_TRAIN']
    cfg, _ = next(pair for key, value in base.items() if key.isupper() for pair in entries(value))
    source = DATASETS.build({'type': 'FewShot', 'dataset': cfg, 'pool': pool, 'shots': 2})
    assert list(source.problems()) == []
    sample = SingleImageConvDataset(source, preprocessor, training=False).encode(0, 0)
    assert len(sample.meta['support']) == 2


TRAIN = ('shikra_stage0', 'shikra_stage1', 'shikra_stage2', 'llava_pretrain5')


@pytest.mark.parametrize('name', TRAIN)
def test_training_recipes(
    name: str, data_root: Path, run_recipe: Recipe, tmp_path: Path, losses: Callable[[Path], list[float]]
):
    run_recipe(data_root, name)
    assert all(0 < loss < 20 for loss in losses(tmp_path / name))


def test_many_evaluations_in_one_run(data_root: Path, run_recipe: Recipe, tmp_path: Path, read_jsonl: Any):
    words = ('--cfg-options', 'data_args.gen_kwargs.max_new_tokens=2')
    results = run_recipe(data_root, 'llava_eval_multi_vqa_yw', *words)
    folder = tmp_path / 'llava_eval_multi_vqa_yw'
    for name in results:
        rows = read_jsonl(folder / f'{name}_extra_prediction.jsonl')
        assert len(rows) == results[name][f'{name}_n']
    assert 'multitest_VQAv2_val_accuracy' in results['multitest_VQAv2_val']
    # Of questions whose answer nobody knows there are predictions alone.
    assert not any('accuracy' in key for key in results['multitest_VQAv2_testdev'])
    assert read_jsonl(folder / 'multitest_VQAv2_testdev_extra_prediction.jsonl')[0]['meta']['id'] == 7
