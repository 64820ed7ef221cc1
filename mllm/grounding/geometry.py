"""Stage 4 of a sample's way, the arithmetic: boxes (x0, y0, x1, y1) and points (x, y) of an image.

Pixels of the original image at the dataset's door, 0..1 of the model's image in text.
"""

from __future__ import annotations

from collections.abc import Sequence

from mllm.types import Box, Point


def clip_boxes(boxes: Sequence[Box], width: int, height: int) -> tuple[list[list[float]], int]:
    """Boxes cut to the image, and how many stuck out.

    ValueError that lists boxes without four finite numbers, inverted, empty, or wholly outside the image.
    """
    faults = [
        f'box {number} {list(box)}: {fault}'
        for number, box in enumerate(boxes)
        if (fault := box_fault(box, width, height))
    ]
    if faults:
        raise ValueError('; '.join(faults) + f' (image {width}x{height}, boxes are x0, y0, x1, y1 in pixels)')
    clipped = [[max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)] for x0, y0, x1, y1 in boxes]
    return clipped, sum(list(old) != new for old, new in zip(boxes, clipped, strict=True))


def box_fault(box: Box, width: int, height: int) -> str | None:
    """What is wrong with a box, None if nothing."""
    if not is_numbers(box, 4):
        return 'expected four finite numbers'
    x0, y0, x1, y1 = box
    if x1 < x0 or y1 < y0:
        return 'inverted'
    if x1 == x0 or y1 == y0:
        return 'empty'
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return 'wholly outside'
    return None


def clip_points(points: Sequence[Point], width: int, height: int) -> tuple[list[list[float]], int]:
    """Points moved onto the image, and how many stuck out by at most a pixel; ValueError if further out."""
    faults = []
    for number, point in enumerate(points):
        if not is_numbers(point, 2):
            faults.append(f'point {number} {list(point)}: expected two finite numbers')
        elif not (-1 <= point[0] <= width + 1 and -1 <= point[1] <= height + 1):
            faults.append(f'point {number} {list(point)}: outside')
    if faults:
        raise ValueError('; '.join(faults) + f' (image {width}x{height}, points are x, y in pixels)')
    clipped = [[min(max(x, 0), width), min(max(y, 0), height)] for x, y in points]
    return clipped, sum(list(old) != new for old, new in zip(points, clipped, strict=True))


def is_numbers(values: object, count: int) -> bool:
    """Whether `values` is a sequence of `count` finite numbers."""
    return (
        isinstance(values, Sequence)
        and len(values) == count
        and all(isinstance(value, int | float) and abs(value) < float('inf') for value in values)
    )


def normalise_boxes(boxes: Sequence[Box], width: int, height: int) -> list[list[float]]:
    """Pixels -> 0..1."""
    return [[x0 / width, y0 / height, x1 / width, y1 / height] for x0, y0, x1, y1 in boxes]


def denormalise_boxes(boxes: Sequence[Box], width: int, height: int) -> list[list[float]]:
    """0..1 -> pixels."""
    return [[x0 * width, y0 * height, x1 * width, y1 * height] for x0, y0, x1, y1 in boxes]


def normalise_points(points: Sequence[Point], width: int, height: int) -> list[list[float]]:
    """Pixels -> 0..1."""
    return [[x / width, y / height] for x, y in points]


def letterbox_offset(width: int, height: int) -> tuple[int, int, int]:
    """Where an image lies in the square that just holds it: (left, top, side); an odd pixel goes right or below."""
    side = max(width, height)
    return (side - width) // 2, (side - height) // 2, side


def shift_boxes(boxes: Sequence[Box], dx: float, dy: float) -> list[list[float]]:
    return [[x0 + dx, y0 + dy, x1 + dx, y1 + dy] for x0, y0, x1, y1 in boxes]


def shift_points(points: Sequence[Point], dx: float, dy: float) -> list[list[float]]:
    return [[x + dx, y + dy] for x, y in points]
