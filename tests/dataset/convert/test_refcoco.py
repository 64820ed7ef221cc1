"""RefCOCO from its official files, with invented refs of their shape."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllm.dataset.convert.base import Summary, convert
from mllm.dataset.convert.refcoco import RefCOCO
from mllm.dataset.single_image_dataset.rec import RECDataset, REGDataset
from mllm.utils.rng import ItemRng


def ref(number: int, split: str, *sentences: str, **fields: Any) -> dict[str, Any]:
    """As the pickles have it: the file name carries the number of the annotation, which the image's has not."""
    return {
        'sent_ids': [10 * number + place for place in range(len(sentences))],
        'file_name': f'COCO_train2014_000000000001_{number}.jpg',
        'ann_id': 100 + number,
        'ref_id': number,
        'image_id': 1,
        'split': split,
        'sentences': [
            {'tokens': text.split(), 'raw': f'{text}!', 'sent_id': 10 * number + place, 'sent': text}
            for place, text in enumerate(sentences)
        ],
        'category_id': 3,
        **fields,
    }


REFS = [
    ref(4, 'testA', 'left kite', 'blue kite', 'left kite'),
    ref(5, 'train', 'a man'),
    ref(2, 'testA', 'big kite', ann_id=107),
    ref(9, 'val', 'the sky'),
]
BOXES = {104: [10.5, 20.0, 30.25, 40.0], 105: [0, 0, 5, 5], 107: [600.0, 300.0, 80.0, 40.0], 109: [1, 1, 9, 9]}


def instances(boxes: dict[int, Any] = BOXES) -> dict[str, Any]:
    image = {'id': 1, 'file_name': 'COCO_train2014_000000000001.jpg', 'width': 640, 'height': 480, 'license': 1}
    entries = [
        {'id': number, 'image_id': 1, 'bbox': box, 'category_id': 3, 'iscrowd': 0, 'area': 9.5, 'segmentation': [[1.5]]}
        for number, box in boxes.items()
    ]
    return {'info': {}, 'images': [image], 'annotations': entries, 'categories': [{'id': 3, 'name': 'kite'}]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A download with the refs of one dataset."""

    def make(refs: Any = REFS, dataset: str = 'refcoco', partition: str = 'unc', **given: Any) -> Path:
        folder = tmp_path / 'refer' / dataset
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'refs({partition}).p').write_bytes(pickle.dumps(refs, 2))
        (folder / 'instances.json').write_text(json.dumps(instances(**given)))
        return folder.parent

    return make


def run(root: Path, split: str, out: Path) -> tuple[list[dict[str, Any]], Summary]:
    summary = convert(RefCOCO(root), split, out)
    return [json.loads(line) for line in (out / f'{split}.jsonl').read_text().splitlines()], summary


def test_a_row_for_each_sentence(write: Callable[..., Path], tmp_path: Path):
    rows, summary = run(write(), 'refcoco_unc_testA', tmp_path)
    first = {
        'img_path': 'COCO_train2014_000000000001.jpg',
        'expression': 'left kite',
        'bbox': [10.5, 20.0, 40.75, 60.0],
        'dataset_name': 'refcoco',
        'height': 480,
        'width': 640,
        'image_id': 1,
        'ref_id': 4,
        'split': 'testA',
        'sent_id': 40,
    }
    clipped = {'expression': 'big kite', 'bbox': [600.0, 300.0, 640, 340.0], 'ref_id': 2, 'sent_id': 20}
    # In the order of the refs, and what occurs twice stays.
    assert rows == [
        first,
        {**first, 'expression': 'blue kite', 'sent_id': 41},
        {**first, 'sent_id': 42},
        {**first, **clipped},
    ]
    assert (summary.rows, summary.images, summary.clipped, summary.skipped) == (4, 1, 1, {})


def test_a_row_for_each_thing_to_be_named(write: Callable[..., Path], tmp_path: Path):
    rows, _ = run(write(), 'reg_refcoco_unc_testA', tmp_path)
    assert [row['references'] for row in rows] == [['left kite', 'blue kite', 'left kite'], ['big kite']]
    assert [(row['ref_id'], row['expression']) for row in rows] == [(4, 'left kite'), (2, 'big kite')]
    assert 'sent_id' not in rows[0]
    dataset = REGDataset(str(tmp_path / 'reg_refcoco_unc_testA.jsonl'), template_string='What is <objs> in <image>?')
    meta = dataset.make_item(dataset.get_row(0), ItemRng(0))['meta']
    assert meta == {'references': ['left kite', 'blue kite', 'left kite'], 'ref_id': 4}


def test_the_rows_are_those_that_the_dataset_reads(write: Callable[..., Path], tmp_path: Path):
    run(write(), 'refcoco_unc_testA', tmp_path)
    dataset = RECDataset(str(tmp_path / 'refcoco_unc_testA.jsonl'), template_string='Where is <expr> in <image>?')
    item = dataset.make_item(dataset.get_row(3), ItemRng(0))
    assert item['target'] == {'boxes': [[600.0, 300.0, 640, 340.0]]}
    assert item['meta'] == {'expression': 'big kite', 'ref_id': 2, 'sent_id': 20}


@pytest.mark.parametrize(
    ('dataset', 'partition', 'splits'),
    [
        ('refcoco', 'unc', ['train', 'val', 'testA', 'testB']),
        ('refcoco+', 'unc', ['train', 'val', 'testA', 'testB']),
        ('refcocog', 'umd', ['train', 'val', 'test']),
        ('refcocog', 'google', ['train', 'val']),
    ],
)
def test_splits(write: Callable[..., Path], tmp_path: Path, dataset: str, partition: str, splits: list[str]):
    root = write([ref(5, split, f'for {split}') for split in splits], dataset, partition)
    for split in splits:
        rows, _ = run(root, f'{dataset}_{partition}_{split}', tmp_path)
        assert [row['expression'] for row in rows] == [f'for {split}']
        assert (f'reg_{dataset}_{partition}_{split}' in RefCOCO.splits) == (split != 'train')


def test_refs_as_json_with_their_annotation(write: Callable[..., Path], tmp_path: Path):
    root = write(boxes={105: [0, 0, 5, 5]})
    (root / 'refcoco' / 'refs(unc).p').unlink()
    refs = [{**REFS[0], 'ann': {'id': 104, 'bbox': BOXES[104]}}]
    (root / 'refcoco' / 'refs(unc).json').write_text(json.dumps({'ref': refs}))
    rows, _ = run(root, 'refcoco_unc_testA', tmp_path)
    assert [row['bbox'] for row in rows] == [[10.5, 20.0, 40.75, 60.0]] * 3


def test_lists_of_minigpt(tmp_path: Path):
    entry = {'img_id': 'COCO_train2014_000000000001_10', 'sents': 'left kite', 'bbox': [1, 2, 3, 4.5]}
    entry |= {'height': 480, 'width': 640}
    (tmp_path / 'refcocog').mkdir()
    path = tmp_path / 'refcocog' / 'refcocog_val.json'
    path.write_text(json.dumps([entry, entry, {**entry, 'bbox': [1, 2, 0, 4]}]))
    rows, summary = run(tmp_path, 'minigpt_refcocog_val', tmp_path)
    row = {'img_path': 'COCO_train2014_000000000001.jpg', 'expression': 'left kite', 'bbox': [1, 2, 4, 6.5]}
    assert rows == [{**row, 'height': 480, 'width': 640, 'split': 'val'}] * 2
    assert summary.skipped == {'box empty': 1}
    for wrong in ({**entry, 'img_id': 'kite.jpg'}, {'img_id': 1}, 'left kite'):
        path.write_text(json.dumps([wrong]))
        with pytest.raises(ValueError, match=r'refcocog_val\.json: entry 0 has'):
            run(tmp_path, 'minigpt_refcocog_val', tmp_path)


@pytest.mark.parametrize(
    ('box', 'reason'),
    [([1, 1, 0, 5], 'empty'), ([1, 1, -3, 5], 'inverted'), ([700, 1, 9, 9], 'wholly outside'), ([1], 'is not four')],
)
def test_boxes_of_no_use(write: Callable[..., Path], tmp_path: Path, box: list[float], reason: str):
    root = write(boxes={**BOXES, 104: box})
    for split, count in (('refcoco_unc_testA', 3), ('reg_refcoco_unc_testA', 1)):
        rows, summary = run(root, split, tmp_path)
        assert len(rows) == 1
        ((found, skipped),) = summary.skipped.items()
        assert reason in found
        assert skipped == count


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'image_id': 77}, r'refs\(unc\)\.p: ref 4: no image 77 in instances\.json; is it of another dataset'),
        ({'ann_id': 77}, r'refs\(unc\)\.p: ref 4: no annotation 77 in instances\.json'),
        ({'sentences': [{'raw': 'kite'}]}, 'after 0 rows the official files have another form'),
        ({'sentences': 'kite'}, r'refs\(unc\)\.p: entry 0 is no ref with its sentences'),
    ],
)
def test_refs_that_do_not_fit(write: Callable[..., Path], tmp_path: Path, fields: dict[str, Any], message: str):
    root = write([{**REFS[0], **fields}])
    with pytest.raises(ValueError, match=message):
        run(root, 'refcoco_unc_testA', tmp_path)


def test_a_split_that_the_file_does_not_have(write: Callable[..., Path], tmp_path: Path):
    with pytest.raises(ValueError, match="it has no refs of the split 'testB'; is it the file of another partition"):
        run(write(), 'refcoco_unc_testB', tmp_path)


@pytest.mark.parametrize('refs', [{'ref': REFS}, 'text', print, [REFS[0], print]])
def test_a_pickle_of_something_else(write: Callable[..., Path], tmp_path: Path, refs: Any):
    with pytest.raises(ValueError, match=r'refs\(unc\)\.p: (expected a list of refs|refused, it names \w+\.print)'):
        run(write(refs), 'refcoco_unc_testA', tmp_path)


def test_damaged_files(write: Callable[..., Path], tmp_path: Path):
    root = write()
    refs, boxes = root / 'refcoco' / 'refs(unc).p', root / 'refcoco' / 'instances.json'
    whole = boxes.read_bytes()
    boxes.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match=r'instances\.json: not whole JSON'):
        run(root, 'refcoco_unc_testA', tmp_path)
    boxes.write_bytes(whole)
    refs.write_bytes(refs.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r'refs\(unc\)\.p: not a whole pickle'):
        run(root, 'refcoco_unc_testA', tmp_path)
    assert list(tmp_path.glob('*.jsonl*')) == []
