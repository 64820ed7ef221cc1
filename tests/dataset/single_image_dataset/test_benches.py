"""V3Det and VL-ICL Bench as episodes."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllm.dataset.single_image_dataset.vl_icl import VLICLComputeMetrics, VLICLDataset
from mllm.dataset.source import DataError
from mllm.registry import DATASETS
from mllm.types import Prediction, images_of
from mllm.utils.rng import ItemRng
from tests.miniature import v3det, vl_icl


@pytest.fixture
def root(tmp_path: Path) -> Path:
    v3det(tmp_path)
    vl_icl(tmp_path)
    return tmp_path


@pytest.fixture
def build(root: Path) -> Callable[..., Any]:
    def call(change: Callable[[dict[str, Any]], None] = lambda data: None, **cfg: Any) -> Any:
        path = root / 'v3det/v3det_train.json'
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        return DATASETS.build(
            {'type': 'V3DetDataset', 'filename': str(path), 'image_folder': str(root / 'v3det'), **cfg}
        )

    return call


def test_v3det_episodes(build: Callable[..., Any]):
    data = build(shot=2)
    assert list(data.problems()) == []
    kinds: Counter[str] = Counter()
    for number in range(80):
        episode = data.episode(number % 2, ItemRng(0, number, number % 2))
        word, name = episode.meta['labels']
        own = ('lamp', 'lantern')[number % 2]
        assert name == ('lantern', 'lamp')[number % 2]
        assert word != own
        labels = [item['meta']['label'] for item in episode.support]
        assert labels[:2] == [word, name]
        assert Counter(labels) == {word: 2, name: 2}
        paths = [item['meta']['image_path'] for item in episode.items]
        assert len(set(paths)) == 5
        # The miniature shows lamps on even pictures.
        for item in episode.support:
            even = int(Path(item['meta']['image_path']).stem) % 2 == 0
            assert even == ((item['meta']['label'] == word) == (own == 'lamp'))
        kind = episode.query['meta']['kind']
        kinds[kind] += 1
        answer = episode.query['conversations'][1]['value']
        assert answer == ('The target object does not exist.' if kind == 'absent' else '<boxes>.')
        asked = name if kind == 'name' else word
        assert asked in episode.query['conversations'][0]['value']
    assert 25 < kinds['word'] < 55
    assert min(kinds['absent'], kinds['name']) > 8
    assert data.episode(0, ItemRng(1, 2, 0)).meta == data.episode(0, ItemRng(1, 2, 0)).meta


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda data: data['annotations'][0].update(bbox=[4, 6, -3, 5]), 'annotation 0: box .* inverted'),
        (lambda data: data['annotations'][0].update(bbox=[400, 6, 3, 5]), 'annotation 0: box .* wholly outside'),
        (lambda data: data['annotations'][1].update(category_id=9), 'annotation 1: there is no category 9'),
        (lambda data: data['categories'][0].update(name=''), 'category 1: name'),
        (lambda data: data.pop('neighbors'), "at 'neighbors'"),
        (lambda data: data.update(images=[]), "at 'images.item'"),
        (
            lambda data: data['annotations'][0].update(bbox=[4, 6, 3]),
            'annotation 0: box .* expected four finite numbers',
        ),
        (lambda data: data['annotations'][0].update(image_id=77), 'annotation 0: there is no image 77'),
        (lambda data: data['images'][0].pop('width'), "another form than those of V3Det: KeyError: 'width'"),
        (lambda data: data.update(neighbors={'1': [1], '2': [9]}), 'no category has 2 images and a neighbour'),
    ],
)
def test_v3det_faults(build: Callable[..., Any], change: Callable[[dict[str, Any]], None], message: str):
    with pytest.raises(ValueError, match=message):
        build(change, shot=1)


def test_v3det_scarce_categories(build: Callable[..., Any], caplog: pytest.LogCaptureFixture):
    """Lamps keep two images, and one of another category cannot be a contrast; nothing fails in the middle of a run."""

    def change(data: dict[str, Any]) -> None:
        data['expired_imgs'] = {'0': '', '2': ''}
        data['categories'].append({'id': 3, 'name': 'candle'})
        data['annotations'].append({'id': 99, 'image_id': 7, 'category_id': 3, 'bbox': [1, 1, 200, 5]})
        data['neighbors'] = {'1': [3, 2], '2': [1], '3': [1]}

    data = build(change, shot=5)
    assert '1 of 3 categories have too few images' in caplog.text
    assert (len(data), data.most_shots(), list(data.problems())) == (2, 1, [])
    for number in range(40):
        episode = data.episode(number % 2, ItemRng(0, number, number % 2))
        assert {episode.meta['labels'][1]} <= {'lamp', 'lantern'}
        assert len(episode.support) == 10
        paths = [item['meta']['image_path'] for item in episode.support]
        assert episode.query['meta']['image_path'] not in paths
        assert len(set(paths[2:])) < len(paths[2:])


def test_v3det_query_does_not_depend_on_the_shots(build: Callable[..., Any]):
    one, two = (build(shot=shot).episode(0, ItemRng(0, 3, 0)).query for shot in (1, 2))
    assert one['meta'] == two['meta']


def test_v3det_lists_the_images_of_a_faulty_file(build: Callable[..., Any]):
    with pytest.raises(DataError) as caught:
        build(lambda data: data['annotations'][0].update(image_id=77), shot=1)
    assert len(list(caught.value.images())) == 7


@pytest.mark.parametrize('task', ['open_mi', 'operator_induction', 'clevr', 'textocr', 'matching_mi'])
def test_vl_icl_episodes(root: Path, task: str):
    for shots in (0, 1, 2, 4):
        data = VLICLDataset(str(root / 'vl_icl'), task, shots)
        assert list(data.problems()) == []
        episode = data.episode(0, ItemRng(5, 0, 0))
        expected = 2 * shots if task in ('open_mi', 'matching_mi') else shots
        assert len(episode.support) == expected
        shown = {image.tobytes() for item in episode.support for image in images_of(item)}
        assert not shown & {image.tobytes() for image in images_of(episode.query)}
        assert episode.items[0]['conversations'][0]['value'].count('\n') == 1
        if task == 'open_mi' and shots:
            assert set(Counter(item['meta']['answer'] for item in episode.support).values()) == {shots}
        if task == 'matching_mi':
            assert [item['meta']['answer'] for item in episode.support] == ['yes', 'no'] * shots
        if task == 'operator_induction':
            assert {item['meta']['answer'] for item in episode.support} <= {'-1'}
            assert episode.query['conversations'][1]['value'] == '-1'
    few, many = (VLICLDataset(str(root / 'vl_icl'), 'clevr', n).episode(0, ItemRng(0, 0, 0)).support for n in (2, 4))
    assert [item['meta']['id'] for item in few] == [item['meta']['id'] for item in many[:2]]


def test_vl_icl_faults(root: Path):
    folder = str(root / 'vl_icl')
    with pytest.raises(ValueError, match=r"task='clever'.*\n.*shots=-1"):
        VLICLDataset(folder, 'clever', -1)
    with pytest.raises(ValueError, match='4 supports fit this query, and shots is 5'):
        VLICLDataset(folder, 'textocr', 5).episode(0, ItemRng(0, 0, 0))
    assert 'support.json: 4 rows' in next(VLICLDataset(folder, 'textocr', 9).problems())
    with pytest.raises(ValueError, match='too few supports'):
        VLICLDataset(folder, 'open_mi', 5).episode(0, ItemRng(0, 0, 0))
    with pytest.raises(FileNotFoundError):
        VLICLDataset(str(root), 'clevr')


def test_vl_icl_supports_never_show_the_query(root: Path):
    """Also where a row names its image alone, not in a list."""
    path = root / 'vl_icl/textocr/support.json'
    rows = json.loads(path.read_text())
    query = json.loads((root / 'vl_icl/textocr/query.json').read_text())[0]
    rows = [{**row, 'image': row['image'][0]} for row in rows]
    path.write_text(json.dumps([*rows[:3], {**rows[3], 'image': query['image'][0]}]))
    data = VLICLDataset(str(root / 'vl_icl'), 'textocr', 3)
    assert {item['meta']['id'] for item in data.episode(0, ItemRng(0, 0, 0)).support} == {'s0', 's1', 's2'}
    with pytest.raises(ValueError, match='3 supports fit this query, and shots is 4'):
        VLICLDataset(str(root / 'vl_icl'), 'textocr', 4).episode(0, ItemRng(0, 0, 0))


def test_vl_icl_images_of_every_row(root: Path):
    named = {image.path for image in VLICLDataset(str(root / 'vl_icl'), 'matching_mi', 1).images()}
    assert named == {f'matching_mi/{name}.png' for name in ('query/q', 'support/0', 'support/1')}
    assert len({image.path for image in VLICLDataset(str(root / 'vl_icl'), 'open_mi', 1).images()}) == 6


def predicted(task: str, answer: str, right: str) -> Prediction:
    return Prediction(0, answer, right, {'task': task, 'answer': right, 'candidates': ['dax', 'blick']})


@pytest.mark.parametrize(
    ('task', 'answer', 'right', 'correct'),
    [
        ('operator_induction', ' 12 apples', '12', 1.0),
        ('operator_induction', '-4', '-4', 0.0),
        ('clevr', '3\nBecause', '3', 1.0),
        ('clevr', '3 cubes', '3', 0.0),
        ('open_mi', 'Dax. It is', 'dax', 1.0),
        ('open_mi', 'a dax', 'dax', 0.0),
        ('matching_mi', 'maybe', 'no', 1.0),
        ('matching_mi', 'Well, yes\nno', 'yes', 1.0),
    ],
)
def test_vl_icl_rule_of_the_bench(task: str, answer: str, right: str, correct: float):
    numbers = VLICLComputeMetrics().compute([predicted(task, answer, right)])
    assert numbers['bench_accuracy'] == correct


@pytest.mark.parametrize(
    ('task', 'answer', 'right', 'correct'),
    [
        ('operator_induction', 'The result is -12.', '-12', 1.0),
        ('operator_induction', 'The result is 12.', '-12', 0.0),
        ('clevr', '3 cubes', '3', 1.0),
        ('clevr', 'three', '3', None),
        ('open_mi', 'This is a dax.', 'dax', 1.0),
        ('open_mi', 'daxes', 'dax', 0.0),
        ('open_mi', 'a dax or a blick', 'dax', 0.0),
        ('textocr', 'It says "Exit-12"', 'exit 12', 1.0),
        ('textocr', 'banana', 'The', 0.0),
        ('textocr', 'THE', 'The', 1.0),
        ('textocr', 'cat', '@', 0.0),
        ('textocr', '@', '@', 1.0),
        ('operator_induction', 'It is \u22124', '-4', 1.0),
        ('matching_mi', 'Yes, they do', 'yes', 1.0),
        ('matching_mi', 'no, not yes', 'yes', 0.0),
        ('open_mi', '', 'dax', None),
    ],
)
def test_vl_icl_answers(task: str, answer: str, right: str, correct: float | None):
    (row,) = VLICLComputeMetrics().per_sample([predicted(task, answer, right)])
    assert (row['correct'] if row['parsed'] else None) == correct
