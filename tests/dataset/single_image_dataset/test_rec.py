"""Referring expressions: items of the three kinds, and how well a box fits, in pixels of the original image."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.dataset.single_image_dataset.rec import RECComputeMetrics, RECDataset
from mllm.registry import DATASETS, METRICS
from mllm.types import Episode, Prediction, Preprocessor
from mllm.utils.faults import FaultsError
from mllm.utils.rng import ItemRng

ROW = {'img_path': 'a.png', 'expression': 'left kite', 'bbox': [10.5, 20, 90, 60], 'dataset_name': 'refcoco'}
WHERE = 'Where is <expr> in <image>?'
WHAT = 'What is <objs> in <image>?'


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    """A dataset of some type with these rows, on one image of 200 x 100."""
    Image.new('RGB', (200, 100)).save(tmp_path / 'a.png')

    def build(kind: str, *rows: Any, **arguments: Any) -> Any:
        (tmp_path / 'rows.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
        given = {'filename': str(tmp_path / 'rows.jsonl'), 'image_folder': str(tmp_path), **arguments}
        return DATASETS.build({'type': kind, 'template_string': WHERE if kind == 'RECDataset' else WHAT, **given})

    return build


def test_an_expression_to_a_box(make: Callable[..., Any]):
    dataset = make('RECDataset', {**ROW, 'ref_id': 3, 'sent_id': 8, 'split': 'val'})
    item = dataset[0]
    assert item['conversations'] == [
        {'from': 'human', 'value': 'Where is left kite in <image>?'},
        {'from': 'gpt', 'value': 'Answer: <boxes> .', 'boxes_seq': [[0]]},
    ]
    assert item['target'] == {'boxes': [[10.5, 20, 90, 60]]}
    assert item['meta'] == {'expression': 'left kite', 'ref_id': 3, 'sent_id': 8, 'image_path': 'a.png'}
    assert dataset.answer(0) == 'Answer: <boxes> .'


@pytest.mark.parametrize('kind', ['REGDataset', 'GCDataset', 'ReverseRECDataset'])
def test_a_box_to_an_expression(make: Callable[..., Any], kind: str):
    item = make(kind, {**ROW, 'references': ['left kite', 'blue one'], 'ref_id': 3})[0]
    assert item['conversations'] == [
        {'from': 'human', 'value': 'What is <boxes> in <image>?', 'boxes_seq': [[0]]},
        {'from': 'gpt', 'value': 'left kite'},
    ]
    assert item['target'] == {'boxes': [[10.5, 20, 90, 60]]}
    assert item['meta'] == {'references': ['left kite', 'blue one'], 'ref_id': 3, 'image_path': 'a.png'}
    assert make(kind, ROW)[0]['meta']['references'] == ['left kite']


@pytest.mark.parametrize(
    ('kind', 'fields', 'message'),
    [
        ('RECDataset', {'expression': None}, 'expression is None; expected str'),
        ('RECDataset', {'bbox': '1 2 3 4'}, "bbox is '1 2 3 4'; expected list"),
        ('RECDataset', {'img_path': 7}, 'img_path is 7; expected str'),
        ('RECDataset', {'bbox': [0.1, 0.2, 0.5, 0.9]}, "box_unit='normalised'"),
        ('REGDataset', {'references': []}, r'references are \[\]; expected texts, at least one'),
        ('REGDataset', {'references': 'kite'}, "references is 'kite'; expected list"),
        ('REGDataset', {'references': ['a', 3]}, r"references are \['a', 3\]"),
    ],
)
def test_rows_that_are_wrong(make: Callable[..., Any], kind: str, fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make(kind, {**ROW, **fields})[0]


@pytest.mark.parametrize(
    ('kind', 'template'),
    [('RECDataset', WHAT), ('REGDataset', WHERE), ('RECDataset', '<expr>'), ('GCDataset', '<objs>')],
)
def test_templates_without_their_placeholders(make: Callable[..., Any], kind: str, template: str):
    with pytest.raises(FaultsError, match='0 times, needed once'):
        make(kind, ROW, template_string=template)


COUNTS = [1, 2, 3, 4, 5, 3]


@pytest.fixture
def reverse(make: Callable[..., Any]) -> Callable[..., Any]:
    """ReverseRECDataset with expressions of 1, 2, 3, 4, 5 and 3 words, each word the number of its row."""
    rows = [{**ROW, 'expression': '  '.join([f'w{row}'] * count)} for row, count in enumerate(COUNTS)]
    return lambda **arguments: make('ReverseRECDataset', *rows, **arguments)


@pytest.mark.parametrize(
    ('bounds', 'kept'),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({'caption_min_words': 2}, [2, 3, 4, 5]),
        ({'caption_max_words': 4}, [0, 1, 2, 5]),
        ({'caption_min_words': 2, 'caption_max_words': 4}, [2, 5]),
        ({'caption_min_words': 1, 'caption_max_words': 3}, [1]),
        ({'caption_min_words': 9}, []),
    ],
)
def test_expressions_with_a_certain_number_of_words(
    reverse: Callable[..., Any], bounds: dict[str, int], kept: list[int]
):
    dataset = reverse(**bounds)
    assert len(dataset) == len(kept)
    assert [int(dataset.answer(index).split()[0][1:]) for index in range(len(dataset))] == kept
    assert [dataset.describe(index).rsplit(':')[-1] for index in range(len(dataset))] == [str(row + 1) for row in kept]
    faults = list(dataset.problems())
    assert faults == [] if kept else 'no expression has more than 9 and fewer than inf words' in faults[0]


def test_bounds_between_which_there_is_nothing(reverse: Callable[..., Any]):
    with pytest.raises(ValueError, match='caption_min_words=3, caption_max_words=4: no expression has more words than'):
        reverse(caption_min_words=3, caption_max_words=4)
    with pytest.raises(FaultsError, match="box_unit='cm'"):
        reverse(box_unit='cm')


def test_the_image_follows_a_template_without_it(reverse: Callable[..., Any]):
    assert reverse(template_string='Name <objs>. ')[0]['conversations'][0]['value'] == 'Name <boxes>. <image>'


def test_normalised_rows_as_the_seeds_had_them(make: Callable[..., Any]):
    dataset = make('ReverseRECDataset', {**ROW, 'bbox': [0.1, 0.2, 0.5, 1.0]}, box_unit='normalised')
    assert dataset[0]['target'] == {'boxes': [[20, 20, 100, 100]], 'points': []}


def test_a_row_that_cannot_be_counted_is_told_when_its_item_is_made(make: Callable[..., Any], tmp_path: Path):
    dataset = make('ReverseRECDataset', ROW, {'img_path': 'a.png'}, ROW, caption_min_words=1)
    with (tmp_path / 'rows.jsonl').open('a') as file:
        file.write('{"expression": \n')
    assert len(dataset) == 4
    with pytest.raises(ValueError, match="no 'expression'"):
        dataset[1]
    with pytest.raises(ValueError, match=r'rows\.jsonl:4: not JSON'):
        dataset[3]


def test_no_row_is_held_for_the_index(make: Callable[..., Any]):
    dataset = make('ReverseRECDataset', *[{**ROW, 'expression': f'{"long " * 200}{row}'} for row in range(2000)])
    tracemalloc.start()
    assert len(dataset) == 2000
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 500_000, 'the rows are two million letters'


def prediction(answer: str, true: list[float], index: int = 0, **meta: Any) -> Prediction:
    """Of an image of 1000 x 1000 pixels."""
    given = {'frame': [0, 0, 1000, 1000], 'image_size': [1000, 1000], 'answer_boxes': [[true]], **meta}
    return Prediction(index, answer, 'Answer: [unused] .', given)


def written(*box: float) -> str:
    return 'Answer: [' + ','.join(f'{value / 1000:.3f}' for value in box) + '] .'


def test_numbers():
    true = [100, 100, 300, 200]
    answers = [
        (written(100, 100, 300, 200), 1.0),
        (written(100, 100, 260, 200), 0.8),
        (written(100, 100, 220, 200), 0.6),
        (written(100, 100, 200, 200), 0.5),
        (written(100, 100, 160, 200), 0.3),
        (written(500, 500, 600, 600), 0.0),
        (written(300, 200, 100, 100), 0.0),  # inverted
        ('I do not see it.', 0.0),
    ]
    predictions = [prediction(answer, true, index) for index, (answer, _) in enumerate(answers)]
    metric = METRICS.build({'type': 'RECComputeMetrics'})
    numbers = metric.compute(predictions)
    assert (numbers['n'], numbers['parse_failures'], numbers['target_failures']) == (8, 1, 0)
    expected = {'accuracy': 3 / 8, 'accuracy_25': 5 / 8, 'accuracy_75': 2 / 8, 'accuracy_90': 1 / 8, 'iou': 3.2 / 8}
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value)
        assert numbers[f'{name}_ci_low'] < value < numbers[f'{name}_ci_high']
    rows = metric.per_sample(predictions)
    assert [row['iou'] for row in rows] == pytest.approx([iou for _, iou in answers])
    assert [row['correct'] for row in rows] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert {tuple(row['true_box']) for row in rows} == {(100, 100, 300, 200)}
    assert rows[0]['size'] == 'large'


@pytest.mark.parametrize(
    'answer', [written(0, 0, 100, 100) + written(5, 5, 9, 9), 'Answer: [0.000,0.000,0.100,0.100;0.5,0.5,0.9,0.9] .']
)
def test_of_several_boxes_none_is_the_answer_but_the_first_is_looked_at(answer: str):
    numbers = RECComputeMetrics().compute([prediction(answer, [0, 0, 100, 100])])
    assert (numbers['parse_failures'], numbers['accuracy'], numbers['first_box_accuracy']) == (1, 0, 1)


@pytest.mark.parametrize('boxes', [[], [[]], [[[0, 0, 1, 1], [0, 0, 9, 9]]], [[[0, 0, 1, 1]], [[0, 0, 9, 9]]]])
def test_targets_that_are_not_one_box_are_counted_apart(boxes: Any):
    good, bad = prediction(written(0, 0, 100, 100), [0, 0, 100, 100]), prediction('none', [], 1, answer_boxes=boxes)
    numbers = RECComputeMetrics().compute([good, bad])
    assert (numbers['n'], numbers['target_failures'], numbers['parse_failures'], numbers['accuracy']) == (1, 1, 0, 1)
    alone = RECComputeMetrics().compute([bad])
    assert alone == {'n': 0, 'parse_failures': 0, 'target_failures': 1}


def test_no_predictions():
    metric = RECComputeMetrics()
    assert metric.compute([]) == {'n': 0, 'parse_failures': 0, 'target_failures': 0}
    assert metric.tables([]) == {'by_size': []}


def test_by_size():
    boxes = {'small': [0, 0, 20, 20], 'medium': [0, 0, 90, 90], 'large': [0, 0, 500, 500]}
    predictions = [prediction(written(*box), box, index) for index, box in enumerate(boxes.values())]
    predictions += [prediction('', boxes['small'], 3)]
    # Without its frame the size of a box in pixels is not known.
    predictions += [Prediction(4, '[0,0,1,1]', '[0,0,1,1]')]
    rows = RECComputeMetrics().tables(predictions)['by_size']
    assert [(row['size'], row['n'], row['accuracy']) for row in rows] == [
        ('small', 2, 0.5),
        ('large', 1, 1),
        ('medium', 1, 1),
    ]


def test_texts_from_elsewhere_are_compared_as_they_are_written():
    prediction = Prediction(0, 'Answer: [0.000,0.000,0.500,0.800] .', 'Answer: [0.000,0.000,0.500,1.000] .')
    assert RECComputeMetrics().compute([prediction])['iou'] == pytest.approx(0.8)


@given(
    st.integers(60, 300),
    st.integers(60, 300),
    st.tuples(st.floats(0, 0.7), st.floats(0, 0.7), st.floats(0.2, 0.6), st.floats(0.2, 0.6)),
)
def test_what_a_model_is_taught_scores_full(
    preprocessor: Preprocessor, width: int, height: int, shares: tuple[float, ...]
):
    """From pixels through letterbox and text and back: only the rounding of the text is lost."""
    left, top = shares[0] * width, shares[1] * height
    box = [left, top, min(left + shares[2] * width, width), min(top + shares[3] * height, height)]
    dataset = RECDataset.__new__(RECDataset)
    dataset.templates, dataset.box_unit = [WHERE], 'pixels'
    item = dataset.make_item({**ROW, 'bbox': box}, ItemRng(0))
    sample = EpisodeEncoder(preprocessor, training=False)(
        Episode({**item, 'image': Image.new('RGB', (width, height))}), 0
    )
    saved = json.loads(json.dumps(sample.meta))
    (row,) = RECComputeMetrics().per_sample([Prediction(0, sample.target, sample.target, saved)])
    assert row['true_box'] == pytest.approx(box)
    assert row['extracted'] == pytest.approx(box, abs=0.00051 * max(width, height))
    assert row['iou'] > 0.9, 'of the smallest box, a rounded edge is this much'


def test_memory_grows_with_the_number_of_samples_alone():
    """The released metric compared every box with every other."""

    def peak(count: int) -> int:
        predictions = [prediction(written(0, 0, 9, 9), [0, 0, 9, 9], index) for index in range(count)]
        tracemalloc.start()
        RECComputeMetrics().compute(predictions)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(2000) < 6 * peak(500)
