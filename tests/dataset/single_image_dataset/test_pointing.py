"""PointQA and Visual7W: every version, and answers judged by the thing they point at."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.dataset.single_image_dataset.point_qa import PointQAComputeMetrics
from mllm.dataset.single_image_dataset.visual7w import V7WComputeMetrics
from mllm.registry import DATASETS
from mllm.types import Prediction
from mllm.utils.rng import ItemRng

POINT = {'file_path': 'a.png', 'question': 'What color?', 'answer': 'blue', 'bbox': [1, 2, 30, 40], 'point': [9, 8]}
POINT |= {'obj_question': 'How many dogs?', 'super_question': 'How many animals?', 'general_question': 'How many?'}
CHOICES = {'file_path': 'a.png', 'question': 'Which?', 'candidates': [[0, 0, 9, 9], [10, 10, 20, 20], [0, 0, 50, 50]]}
CHOICES |= {'answer': [10, 10, 20, 20], 'point': [15, 15]}
Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def call(type: str, row: dict[str, Any], index: int = 0, **cfg: Any) -> Any:
        path = tmp_path / 'rows.jsonl'
        path.write_text(json.dumps(row))
        data = DATASETS.build({'type': type, 'filename': str(path), 'template_string': '<question> <image>', **cfg})
        return data.make_item(data.get_row(0), ItemRng(0, 0, index))

    return call


@pytest.mark.parametrize('place', ['b', 'p'])
@pytest.mark.parametrize(('name', 'text'), [('oq', 'How many dogs?'), ('sq', 'How many animals?'), ('gq', 'How many?')])
def test_twice(make: Make, name: str, text: str, place: str):
    item = make('Point_QA_twice', POINT, version=f'{name}-{place}')
    mark = '<boxes>' if place == 'b' else '<points>'
    assert item['conversations'][0]['value'] == f'{text}{mark} <image>'
    assert item['target'] == ({'boxes': [[1, 2, 30, 40]]} if place == 'b' else {'points': [[9, 8]]})


@pytest.mark.parametrize(('probability', 'kinds'), [(0.0, {'boxes'}), (1.0, {'points'}), (0.5, {'boxes', 'points'})])
def test_either_place(make: Make, probability: float, kinds: set[str]):
    items = [make('Point_QA_local', POINT, index, version='bp', qbp_p_prob=probability) for index in range(20)]
    assert {key for item in items for key in item['target']} == kinds
    items = [make('Point_QA_twice', POINT, index, version='gq-bp', bp_p_prob=probability) for index in range(20)]
    assert {key for item in items for key in item['target']} == kinds


@pytest.mark.parametrize(
    ('type', 'cfg', 'message'),
    [
        ('Point_QA_local', {'version': 'q'}, "version='q'"),
        ('Point_QA_twice', {'version': 'oq_p'}, "did you mean 'oq-p'"),
        ('Point_QA_local', {'qbp_p_prob': 2}, 'expected 0 to 1'),
        ('V7W_POINT', {'version': 'x'}, "version='x'"),
    ],
)
def test_wrong_versions(make: Make, type: str, cfg: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make(type, POINT, **cfg)


def test_choices_are_shuffled_for_each_question_alone(make: Make):
    orders = {tuple(map(tuple, make('V7W_POINT', CHOICES, n)['conversations'][0]['boxes_seq'])) for n in range(30)}
    assert len(orders) == 6
    item = make('V7W_POINT', CHOICES, do_shuffle_choice=False)
    assert item['conversations'][0]['boxes_seq'] == [[0], [1], [2]]
    assert item['conversations'][1] == {'from': 'gpt', 'value': 'The answer is <points> .', 'points_seq': [[0]]}
    assert item['meta']['right_choice'] == 1
    with pytest.raises(ValueError, match='is none of the candidates'):
        make('V7W_POINT', {**CHOICES, 'answer': [1, 1, 2, 2]})


def choice(text: str, **meta: Any) -> float | None:
    candidates = [[0, 0, 20, 20], [60, 10, 80, 50], [0, 0, 100, 100]]
    meta = {'frame': [0, 0, 100, 100], 'target_boxes': candidates, 'right_choice': 1, **meta}
    metric, prediction = V7WComputeMetrics(), Prediction(0, text, '', meta)
    value = metric.extract(prediction)
    return None if value is None else metric.score(value, prediction)


@pytest.mark.parametrize(
    ('text', 'score'),
    [
        ('The answer is [0.600,0.100,0.800,0.500] .', 1.0),
        ('[0.610,0.120,0.780,0.490]', 1.0),
        ('[0.000,0.000,0.210,0.200]', 0.0),
        ('[0.000,0.000,0.900,0.900]', 0.0),
        ('The answer is [0.700,0.300] .', 1.0),  # inside the large one too
        ('[0.900,0.900]', 0.0),
        ('[0.100,0.100]', 0.0),
        ('[0.6,0.1,0.8,0.5;0.0,0.0,0.2,0.2]', None),
        ('[0.6,0.1,0.8,0.5] [0.7,0.3]', None),
        ('the lamp', None),
        ('', None),
    ],
)
def test_a_choice_is_the_thing_pointed_at(text: str, score: float | None):
    assert choice(text) == score


def test_a_choice_is_found_through_padding():
    """The image is 100 x 50: its model's square begins 25 pixels above it."""
    assert choice('[0.600,0.350,0.800,0.750]', frame=[0, -25, 100, 75]) == 1.0


def test_equal_candidates_are_one():
    boxes = [[0, 0, 20, 20], [0, 0, 20, 20], [50, 50, 60, 60]]
    assert choice('[0.0,0.0,0.2,0.2]', target_boxes=boxes) == 1.0
    apart = [[0, 0, 20, 20], [20, 0, 40, 20], [90, 90, 99, 99]]
    assert choice('[0.1,0.0,0.3,0.2]', target_boxes=apart) is None  # fits two equally


@given(st.lists(st.integers(0, 90), min_size=4, max_size=4, unique=True))
def test_a_box_is_its_own_choice(values: list[int]):
    (x0, x1), (y0, y1) = sorted(values[:2]), sorted(values[2:])
    boxes = [[x0, y0, x1, y1], [91, 91, 99, 99]]
    text = f'[{x0 / 100:.3f},{y0 / 100:.3f},{x1 / 100:.3f},{y1 / 100:.3f}]'
    assert choice(text, target_boxes=boxes, right_choice=0) == 1.0


@given(st.lists(st.integers(0, 90), min_size=4, max_size=4, unique=True))
def test_a_centre_is_its_own_choice(values: list[int]):
    """Also where a smaller candidate lies on it: a face is the middle of a person."""
    (x0, x1), (y0, y1) = sorted(values[:2]), sorted(values[2:])
    boxes = [[x0, y0, x1, y1], [(x0 + x1) / 2 - 1, (y0 + y1) / 2 - 1, (x0 + x1) / 2 + 2, (y0 + y1) / 2 + 2]]
    text = f'[{(x0 + x1) / 200:.3f},{(y0 + y1) / 200:.3f}]'
    assert choice(text, target_boxes=boxes, right_choice=0) == 1.0


def test_places_that_are_rounded_are_one_answer():
    metric = PointQAComputeMetrics()
    there = '[0.999,0.200]'
    pairs = [('The answer is [1.000,0.200] .', there), ('The answer is [0.5,0.2]', there), ('blue', 'Blue .')]
    given_ = [Prediction(n, pred, f'The answer is {target} .') for n, (pred, target) in enumerate(pairs)]
    assert [row['correct'] for row in metric.per_sample(given_)] == [1.0, 0.0, 1.0]
