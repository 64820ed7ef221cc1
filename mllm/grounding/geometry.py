"""Stage 4 of a sample's way, the arithmetic: boxes (x0, y0, x1, y1) and points (x, y) of an image.

Pixels of the original image at the dataset's door, 0..1 of the model's image in text. Places are continuous: the
top left pixel covers 0..1 in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from mllm.types import Box, Point

POINT_TOLERANCE = 1.0
"""A point may lie so many pixels outside its image: annotations are rounded, or count pixels from 1."""


def clip_boxes(boxes: Sequence[Box], width: int, height: int) -> tuple[list[Box], int]:
    """Boxes cut to the image, and how many stuck out.

    ValueError that lists all boxes that are not four finite numbers, inverted, empty, or wholly outside the image.
    """
    faults = [
        f'box {number} {shown(box)}: {fault}'
        for number, box in enumerate(boxes)
        if (fault := box_fault(box, width, height))
    ]
    if faults:
        raise ValueError('; '.join(faults) + f' (image {width}x{height}, boxes are x0, y0, x1, y1 in pixels)')
    clipped: list[Box] = [[max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)] for x0, y0, x1, y1 in boxes]
    return clipped, sum(list(old) != new for old, new in zip(boxes, clipped, strict=True))


def box_fault(box: Box, width: int, height: int) -> str | None:
    """What is wrong with a box, None if nothing."""
    if not are_numbers(box, 4):
        return 'expected four finite numbers'
    x0, y0, x1, y1 = box
    if x1 < x0 or y1 < y0:
        return 'inverted'
    if x1 == x0 or y1 == y0:
        return 'empty'
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return 'wholly outside'
    return None


def clip_points(points: Sequence[Point], width: int, height: int) -> tuple[list[Point], int]:
    """Points moved onto the image, and how many stuck out.

    ValueError that lists all points that are not two finite numbers, or further out than `POINT_TOLERANCE`.
    """
    faults = [
        f'point {number} {shown(point)}: {fault}'
        for number, point in enumerate(points)
        if (fault := point_fault(point, width, height))
    ]
    if faults:
        raise ValueError('; '.join(faults) + f' (image {width}x{height}, points are x, y in pixels)')
    clipped: list[Point] = [[min(max(x, 0), width), min(max(y, 0), height)] for x, y in points]
    return clipped, sum(list(old) != new for old, new in zip(points, clipped, strict=True))


def point_fault(point: Point, width: int, height: int) -> str | None:
    """What is wrong with a point, None if nothing."""
    if not are_numbers(point, 2):
        return 'expected two finite numbers'
    x, y = point
    inside = -POINT_TOLERANCE <= x <= width + POINT_TOLERANCE and -POINT_TOLERANCE <= y <= height + POINT_TOLERANCE
    return None if inside else 'outside'


def are_numbers(values: object, count: int) -> bool:
    """Whether `values` holds `count` finite numbers, in a list, a tuple, an array, ..."""
    if isinstance(values, str | bytes):
        return False
    try:
        numbers = list(values)  # type: ignore[call-overload]
    except TypeError:
        return False
    return len(numbers) == count and all(isinstance(value, Real) and math.isfinite(value) for value in numbers)


def shown(values: object) -> object:
    """A box as it stands in a message, whatever it is."""
    return list(values) if isinstance(values, tuple) else values


def xywh_to_xyxy(boxes: Sequence[Box]) -> list[Box]:
    """Boxes given by corner, width and height (COCO, Visual Genome) -> by two corners; unit as given."""
    return [[x, y, x + width, y + height] for x, y, width, height in boxes]


def normalise_boxes(boxes: Sequence[Box], width: int, height: int, decimals: int | None = None) -> list[Box]:
    """Pixels -> 0..1, rounded to `decimals` if given."""
    unit: list[Box] = [[x0 / width, y0 / height, x1 / width, y1 / height] for x0, y0, x1, y1 in boxes]
    return unit if decimals is None else [[round(value, decimals) for value in box] for box in unit]


def denormalise_boxes(boxes: Sequence[Box], width: int, height: int) -> list[Box]:
    """0..1 -> pixels."""
    return [[x0 * width, y0 * height, x1 * width, y1 * height] for x0, y0, x1, y1 in boxes]


def denormalise_points(points: Sequence[Point], width: int, height: int) -> list[Point]:
    """0..1 -> pixels."""
    return [[x * width, y * height] for x, y in points]


def normalise_points(points: Sequence[Point], width: int, height: int) -> list[Point]:
    """Pixels -> 0..1."""
    return [[x / width, y / height] for x, y in points]


def letterbox_offset(width: int, height: int) -> tuple[int, int, int]:
    """Where an image lies in the square that just holds it: (left, top, side); an odd pixel goes right or below."""
    side = max(width, height)
    return (side - width) // 2, (side - height) // 2, side


def shift_boxes(boxes: Sequence[Box], dx: float, dy: float) -> list[Box]:
    """Boxes moved by (dx, dy)."""
    return [[x0 + dx, y0 + dy, x1 + dx, y1 + dy] for x0, y0, x1, y1 in boxes]


def shift_points(points: Sequence[Point], dx: float, dy: float) -> list[Point]:
    """Points moved by (dx, dy)."""
    return [[x + dx, y + dy] for x, y in points]
