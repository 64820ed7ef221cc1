"""Referring expressions from official files to a table of results, on the tiny model and a miniature of the data."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mllm.config.config import load_config
from mllm.dataset.convert.refcoco import SPLITS
from mllm.registry import DATASETS
from tools.convert import main as convert

Recipe = Callable[..., dict[str, dict[str, Any]]]
SETS = {
    'REFCOCO_UNC': ('VAL', 'TESTA', 'TESTB'),
    'REFCOCOA_UNC': ('VAL', 'TESTA', 'TESTB'),
    'REFCOCOG_UMD': ('VAL', 'TEST'),
}


@pytest.fixture(scope='module')
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MLLM_DATA names: three pictures of COCO, and the three datasets converted from official files on them."""
    root, refer = tmp_path_factory.mktemp('data'), tmp_path_factory.mktemp('refer')
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for number in range(3):
        name = f'COCO_train2014_{number:012d}.jpg'
        path = root / 'coco' / 'train2014' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (48, 64 - 10 * number, 3), dtype=np.uint8)).save(path)
        images.append({'id': number, 'file_name': name, 'width': 64 - 10 * number, 'height': 48})
        boxes.append({'id': number, 'bbox': [5.5, 6, 20 + number, 30.25]})
    for dataset, partition in SPLITS:
        refs = [
            {
                'ref_id': number,
                'ann_id': number,
                'image_id': number,
                'split': split,
                'sentences': [{'sent': f'thing {word}', 'sent_id': 2 * number + word} for word in range(2)],
            }
            for split in SPLITS[dataset, partition]
            for number in range(3)
        ]
        folder = refer / dataset
        folder.mkdir(exist_ok=True)
        (folder / f'refs({partition}).p').write_bytes(pickle.dumps(refs, 2))
        (folder / 'instances.json').write_text(json.dumps({'images': images, 'annotations': boxes}))
    assert convert(['refcoco', '--root', str(refer), '--out', str(root / 'refcoco')]) == 0
    return root


def test_training(run_recipe: Recipe, data_root: Path, tmp_path: Path, losses: Callable[[Path], list[float]]):
    run_recipe(data_root, 'rec_llava_v1_7b_fsdp')
    folder = tmp_path / 'rec_llava_v1_7b_fsdp'
    assert (folder / 'checkpoint-2' / 'model.safetensors').is_file()
    assert losses(folder)
    assert all(0 < loss < 20 for loss in losses(folder))


def test_evaluation(run_recipe: Recipe, data_root: Path, tmp_path: Path, read_jsonl: Any):
    results = run_recipe(
        data_root, 'rec_llava_v1_7b_fsdp_eval', '--cfg-options', 'data_args.gen_kwargs.max_new_tokens=2'
    )
    names = [f'multitest_REC_{dataset}_{split}' for dataset, splits in SETS.items() for split in splits]
    assert list(results) == names
    for name, numbers in results.items():
        # Two expressions for each of three things; nothing comes of two tokens.
        assert [numbers[f'{name}_{key}'] for key in ('n', 'parse_failures', 'accuracy', 'iou')] == [6, 6, 0, 0]
        rows = read_jsonl(tmp_path / 'rec_llava_v1_7b_fsdp_eval' / f'{name}_extra_prediction.jsonl')
        assert rows[0]['meta']['answer_boxes'] == [[[5.5, 6, 25.5, 36.25]]]
        # A letterbox: the picture of 64 x 48 lies in a square of 64.
        assert rows[0]['meta']['frame'] == pytest.approx([0, -8, 64, 56])
        assert rows[0]['target'] == 'Answer: [0.086,0.219,0.398,0.691] .'


def test_naming_and_describing(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path):
    """The other entries of the catalogue, on what the converter wrote."""
    monkeypatch.setenv('MLLM_DATA', str(data_root))
    path = tmp_path / 'naming.py'
    bases = [str(root / f'config/_base_/{base}.py') for base in ('dataset/reg', 'model/tiny_llava')]
    path.write_text(
        f'_base_ = {bases!r}\ndata_args = dict(train=_base_.REF_REVERSE, multitest={{**_base_.REG_TEST}})\n'
        'training_args = dict()\n'
    )
    data_args = load_config(str(path)).data_args
    tests = {name: DATASETS.build(entry.cfg) for name, entry in data_args.multitest.items()}
    assert {len(dataset) for dataset in tests.values()} == {3}, 'a row for each thing'
    item = tests['REG_REFCOCOG_UMD_TEST'][1]
    assert item['meta']['references'] == ['thing 0', 'thing 1']
    assert item['image'].size == (54, 48)
    assert len(DATASETS.build(data_args.train)) == 0, 'phrases of two words are too short for it'
