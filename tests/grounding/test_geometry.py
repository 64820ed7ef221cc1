import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.grounding.geometry import (
    clip_boxes,
    clip_points,
    denormalise_boxes,
    letterbox_offset,
    normalise_boxes,
    normalise_points,
    shift_boxes,
    shift_points,
)

size = st.integers(1, 5000)


@st.composite
def image_with_boxes(draw: st.DrawFn):
    """A size, and boxes that overlap it."""
    width, height = draw(size), draw(size)
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        x1, y1 = draw(st.floats(0.01, 2.0 * width)), draw(st.floats(0.01, 2.0 * height))
        x0 = draw(st.floats(-width, min(x1, width) - 0.01))
        y0 = draw(st.floats(-height, min(y1, height) - 0.01))
        boxes.append([x0, y0, x1, y1])
    return width, height, boxes


@given(image_with_boxes())
def test_clipped_boxes_are_the_part_inside(case):
    width, height, boxes = case
    clipped, count = clip_boxes(boxes, width, height)
    for (a, b, c, d), (x0, y0, x1, y1) in zip(boxes, clipped, strict=True):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (x0 == a or a < 0 == x0) and (y0 == b or b < 0 == y0)  # noqa: PT018
        assert (x1 == c or c > width == x1) and (y1 == d or d > height == y1)  # noqa: PT018
    assert count == sum(box != new for box, new in zip(boxes, clipped, strict=True))
    assert clip_boxes(clipped, width, height) == (clipped, 0)


def test_boxes_that_stick_out_are_counted():
    boxes = [[0, 0, 10, 8], [-3, 2, 4, 5], (6, 6, 99, 99), np.array([1, 1, 2, 2])]
    clipped, count = clip_boxes(boxes, 10, 8)
    assert [list(box) for box in clipped] == [[0, 0, 10, 8], [0, 2, 4, 5], [6, 6, 10, 8], [1, 1, 2, 2]]
    assert count == 2
    assert boxes[1] == [-3, 2, 4, 5], 'the input is changed'


@pytest.mark.parametrize(
    ('box', 'fault'),
    [
        ([6, 2, 4, 5], 'inverted'),
        ([2, 5, 4, 2], 'inverted'),
        ([4, 2, 4, 5], 'empty'),
        ([2, 5, 4, 5], 'empty'),
        ([10, 2, 14, 5], 'wholly outside'),
        ([2, 8, 4, 9], 'wholly outside'),
        ([-4, 2, 0, 5], 'wholly outside'),
        ([2, -9, 4, 0], 'wholly outside'),
        ([1, 2, 3], 'expected four finite numbers'),
        ([1, 2, 3, 4, 5], 'expected four finite numbers'),
        ([1, 2, 3, float('nan')], 'expected four finite numbers'),
        ([1, 2, 3, float('inf')], 'expected four finite numbers'),
        ([1, 2, 3, '4'], 'expected four finite numbers'),
        ([1, 2, 3, None], 'expected four finite numbers'),
        ('1234', 'expected four finite numbers'),
        (7, 'expected four finite numbers'),
    ],
)
def test_boxes_that_are_none_are_named_with_the_image(box: object, fault: str):
    with pytest.raises(
        ValueError, match=rf'^box 1 .*{fault} \(image 10x8, boxes are x0, y0, x1, y1 in pixels\)$'
    ) as error:
        clip_boxes([[0, 0, 1, 1], box], 10, 8)
    shown = f"'{box}'" if isinstance(box, str) else str(box)
    assert shown.strip("'") in str(error.value)


def test_all_bad_boxes_are_named_at_once():
    with pytest.raises(ValueError, match=r'box 0 \[5, 5, 5, 9\]: empty; box 2 \[50, 5, 60, 9\]: wholly outside'):
        clip_boxes([(5, 5, 5, 9), (1, 1, 2, 2), (50, 5, 60, 9)], 10, 10)


def test_points_on_the_rim_are_clipped_and_counted():
    points = [[0, 0], [10, 8], [-0.4, 3], (10.7, 8.2), np.array([1.0, 2.0])]
    clipped, count = clip_points(points, 10, 8)
    assert [list(point) for point in clipped] == [[0, 0], [10, 8], [0, 3], [10, 8], [1, 2]]
    assert count == 2


@pytest.mark.parametrize(
    ('point', 'fault'),
    [
        ([12, 3], 'outside'),
        ([3, -1.5], 'outside'),
        ([1], 'expected two'),
        ([1, 2, 3], 'expected two'),
        ([1, 'x'], 'expected'),
    ],
)
def test_points_that_are_none_are_named_with_the_image(point: list, fault: str):
    with pytest.raises(ValueError, match=rf'^point 1 \[.*\]: {fault}.*\(image 10x8, points are x, y in pixels\)$'):
        clip_points([[0, 0], point], 10, 8)


@given(image_with_boxes())
def test_normalising_and_back(case):
    width, height, boxes = case
    there = normalise_boxes(boxes, width, height)
    back = denormalise_boxes(there, width, height)
    assert np.allclose(back, boxes, rtol=1e-12, atol=1e-9)
    assert normalise_points([box[:2] for box in boxes], width, height) == [box[:2] for box in there]
    assert normalise_boxes([[0, 0, width, height]], width, height) == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    ('width', 'height', 'expected'),
    [
        (100, 50, (0, 25, 100)),
        (101, 50, (0, 25, 101)),
        (50, 101, (25, 0, 101)),
        (640, 427, (0, 106, 640)),
        (7, 7, (0, 0, 7)),
    ],
)
def test_letterbox_of_known_sizes(width: int, height: int, expected: tuple[int, int, int]):
    assert letterbox_offset(width, height) == expected


@given(image_with_boxes())
def test_letterbox_and_back(case):
    width, height, boxes = case
    dx, dy, side = letterbox_offset(width, height)
    assert side == max(width, height)
    assert min(dx, dy) == 0
    # The image is in the middle, an odd pixel right of it or below.
    assert side - width - dx in (dx, dx + 1)
    assert side - height - dy in (dy, dy + 1)
    boxes, _ = clip_boxes(boxes, width, height)
    inside = shift_boxes(boxes, dx, dy)
    assert clip_boxes(inside, side, side)[1] == 0
    assert np.allclose(shift_boxes(inside, -dx, -dy), boxes, rtol=0, atol=1e-9)
    corners = [box[:2] for box in boxes]
    assert shift_points(corners, dx, dy) == [box[:2] for box in inside]


def test_a_box_of_a_published_pipeline():
    """Box and point of a 601 x 444 image, padded, normalised and rounded as in Shikra."""
    dx, dy, side = letterbox_offset(601, 444)
    box = normalise_boxes(shift_boxes([[235.79, 308.63, 487.14, 602.65]], dx, dy), side, side)[0]
    point = normalise_points(shift_points([[28.11, 197.74]], dx, dy), side, side)[0]
    assert [round(min(value, 1.0), 3) for value in box] == [0.392, 0.643, 0.811, 1.0]
    assert [round(value, 3) for value in point] == [0.047, 0.459]
