"""Stage 11 of a sample's way for answers that point: text -> boxes and points in pixels of the original image.

A model writes places as 0..1 of the image it sees; `meta['frame']`, which the encoder wrote, is the box of the original
image that 0..1 spans. Without it (texts from elsewhere) places stay as they are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mllm.grounding.formatter import BoxFormatter
from mllm.registry import FORMATTERS
from mllm.types import Box, Point, Prediction

COCO_SIZES = {'small': 32**2, 'medium': 96**2, 'large': float('inf')}
"""Areas in pixels below which a box is of a size (COCO's detection evaluation)."""


def build_formatter(formatter: Mapping[str, Any] | None) -> BoxFormatter:
    """The box format of a metric's config; the run's own is put in by `metric.builder`."""
    return FORMATTERS.build(formatter or {'type': 'PlainBoxFormatter'})


def to_pixels(places: Sequence[Sequence[float]], meta: Mapping[str, Any]) -> list[list[float]]:
    """Boxes or points of 0..1 -> pixels of the original image, if `meta` has its frame."""
    frame = meta.get('frame')
    if frame is None:
        return [list(place) for place in places]
    start, length = frame[:2], (frame[2] - frame[0], frame[3] - frame[1])
    return [[value * length[n % 2] + start[n % 2] for n, value in enumerate(place)] for place in places]


def answered_boxes(prediction: Prediction, formatter: BoxFormatter) -> list[list[list[float]]]:
    """The groups of boxes in an answer, as pixels."""
    return [to_pixels(group, prediction.meta) for group in formatter.extract_boxes(prediction.pred)]


def answered_points(prediction: Prediction, formatter: BoxFormatter) -> list[list[list[float]]]:
    """The groups of points in an answer, as pixels."""
    return [to_pixels(group, prediction.meta) for group in formatter.extract_points(prediction.pred)]


def true_boxes(prediction: Prediction, formatter: BoxFormatter) -> list[list[list[float]]]:
    """The groups of boxes in the right answer: exact from `meta['answer_boxes']`, else as the target writes them."""
    if 'answer_boxes' in prediction.meta:
        return prediction.meta['answer_boxes']
    return [to_pixels(group, prediction.meta) for group in formatter.extract_boxes(prediction.target)]


def area(box: Box) -> float:
    """0 for an inverted box."""
    x0, y0, x1, y1 = box
    return max(0.0, x1 - x0) * max(0.0, y1 - y0)


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union, 0..1; 0 where both are empty."""
    shared = area(
        [max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3])]
    )
    union = area(first) + area(second) - shared
    return shared / union if union > 0 else 0.0


def contains(box: Box, point: Point) -> bool:
    """Whether a point lies in a box or on its edge."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def size_of(box: Box) -> str:
    """'small', 'medium' or 'large' by area in pixels."""
    return next(name for name, limit in COCO_SIZES.items() if area(box) < limit)
