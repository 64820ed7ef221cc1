"""Places in texts, as pixels of the original image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.encoder import frame_of
from mllm.dataset.transform import Expand2square
from mllm.grounding.geometry import normalise_boxes, normalise_points
from mllm.metric.grounding import (
    answered_boxes,
    answered_points,
    area,
    box_iou,
    build_formatter,
    contains,
    size_of,
    to_pixels,
    true_boxes,
)
from mllm.types import Prediction

PLAIN = build_formatter(None)
COORDINATES = st.floats(-100, 100)
BOXES = st.lists(COORDINATES, min_size=4, max_size=4)


@st.composite
def proper_boxes(draw: st.DrawFn) -> list[float]:
    x0, y0 = draw(COORDINATES), draw(COORDINATES)
    return [x0, y0, x0 + draw(st.floats(1, 50)), y0 + draw(st.floats(1, 50))]


@given(BOXES, BOXES)
def test_an_overlap_is_between_0_and_1_whichever_comes_first(first: list[float], second: list[float]):
    assert 0 <= box_iou(first, second) <= 1
    assert box_iou(first, second) == box_iou(second, first)


@given(proper_boxes(), st.floats(-3, 3), st.floats(0.5, 3))
def test_overlap_does_not_depend_on_place_or_scale(box: list[float], shift: float, scale: float):
    other = [box[0] + shift, *box[1:]]
    moved = [[value * scale + 7 for value in one] for one in (box, other)]
    assert box_iou(box, box) == 1
    assert box_iou(*moved) == pytest.approx(box_iou(box, other), abs=1e-6)


@pytest.mark.parametrize(
    ('first', 'second', 'overlap'),
    [
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0),
        ([0, 0, 2, 2], [0, 0, 2, 1], 0.5),
        ([2, 2, 0, 0], [0, 0, 2, 2], 0),  # inverted
        ([1, 1, 1, 1], [1, 1, 1, 1], 0),
        ([2, 2, 0, 0], [2, 2, 0, 0], 0),
    ],
)
def test_overlaps(first: list[float], second: list[float], overlap: float):
    assert box_iou(first, second) == pytest.approx(overlap)


@given(st.integers(2, 400), st.integers(2, 400), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_pixels_of_the_original_come_back_through_the_letterbox(width: int, height: int, shares: list[float]):
    places = [shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height]
    corners = [[0.0, 0.0], [float(width), float(height)]]
    image, moved = Expand2square()(Image.new('L', (width, height)), {'boxes': [places], 'points': corners})
    assert moved is not None
    frame = frame_of((width, height), *normalise_points(moved['points'], *image.size))
    ((x0, y0, x1, y1),) = to_pixels(normalise_boxes(moved['boxes'], *image.size), {'frame': frame})
    assert [x0, y0, x1, y1] == pytest.approx(places, abs=1e-6 * max(width, height))


def test_without_a_frame_places_stay_as_they_are_written():
    text = 'a [0.100,0.200,0.300,0.400;0.5,0.5,0.6,0.6] b [0.1,0.2] c [0,0,1,1]'
    bare, framed = Prediction(0, text, ''), Prediction(0, text, '', {'frame': [-100, 0, 300, 400]})
    assert answered_boxes(bare, PLAIN) == [[[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.6, 0.6]], [[0, 0, 1, 1]]]
    assert answered_points(bare, PLAIN) == [[[0.1, 0.2]]]
    assert answered_points(framed, PLAIN) == [[[pytest.approx(-60), pytest.approx(80)]]]
    assert answered_boxes(framed, PLAIN)[1] == [[-100, 0, 300, 400]]


def test_the_true_boxes_are_exact_where_the_dataset_gave_them():
    prediction = Prediction(0, '', 'Answer: [0.333,0.0,0.667,1.0] .', {'frame': [0, 0, 30, 30]})
    assert true_boxes(prediction, PLAIN) == [[[pytest.approx(9.99), 0, pytest.approx(20.01), 30]]]
    exact = Prediction(
        0, '', 'Answer: [0.333,0.0,0.667,1.0] .', {'frame': [0, 0, 30, 30], 'answer_boxes': [[[10, 0, 20, 30]]]}
    )
    assert true_boxes(exact, PLAIN) == [[[10, 0, 20, 30]]]


@pytest.mark.parametrize(
    ('side', 'name'), [(1, 'small'), (31.9, 'small'), (32, 'medium'), (95.9, 'medium'), (96, 'large'), (5000, 'large')]
)
def test_sizes_are_those_of_coco(side: float, name: str):
    assert size_of([3, 3, 3 + side, 3 + side]) == name


def test_a_point_on_the_edge_is_inside():
    assert contains([0, 0, 2, 2], [2, 0])
    assert not contains([0, 0, 2, 2], [2.01, 0])


def test_the_area_of_an_inverted_box():
    assert area([2, 0, 0, 2]) == 0


def test_formatters_by_name():
    small = build_formatter({'type': 'PlainBoxFormatter', 'use_small_brackets': True})
    assert answered_boxes(Prediction(0, '(0.1,0.2,0.3,0.4) [0,0,1,1]', ''), small) == [[[0.1, 0.2, 0.3, 0.4]]]
    with pytest.raises(ValueError, match="no 'PlainFormatter'; did you mean"):
        build_formatter({'type': 'PlainFormatter'})
