"""Cases of formatters and geometry."""

from __future__ import annotations

from typing import Any

from PIL import Image

from mllm.dataset.transform import Expand2square
from mllm.grounding.formatter import BoxFormatter, clamp, fill, substitute
from mllm.grounding.geometry import denormalise_boxes, normalise_boxes, normalise_points, xywh_to_xyxy
from mllm.registry import FORMATTERS
from mllm.types import BOXES_PLACEHOLDER, Target
from tests.golden.compare import Case

DIGITS = 3
"""The original rounds boxes right after it normalises them; ours are rounded by the formatter that writes them."""


def formatter(given: dict[str, Any]) -> BoxFormatter:
    return FORMATTERS.build(given['formatter'])


def format_box(given: dict[str, Any]) -> str:
    return formatter(given).format_boxes(given['boxes'])


def format_point(given: dict[str, Any]) -> str:
    return formatter(given).format_points(given['points'])


def extract_boxes(given: dict[str, Any]) -> Any:
    return formatter(given).extract_boxes(given['string'])


def extract_points(given: dict[str, Any]) -> Any:
    return formatter(given).extract_points(given['string'])


def numbered(groups: list[list[Any]]) -> tuple[list[list[int]], list[Any]]:
    """Groups of coordinates as lists of indices, and the coordinates: the original's functions took the groups."""
    entries = [entry for group in groups for entry in group]
    places = iter(range(len(entries)))
    return [[next(places) for _ in group] for group in groups], entries


def substitute_boxes(given: dict[str, Any]) -> str:
    sequence, boxes = numbered(given['boxes_seq'])
    return substitute(given['sentence'], sequence, None, {'boxes': boxes}, formatter(given))


def substitute_points(given: dict[str, Any]) -> str:
    sequence, points = numbered(given['points_seq'])
    return substitute(given['sentence'], None, sequence, {'points': points}, formatter(given))


def expand2square(given: dict[str, Any]) -> dict[str, Any]:
    image = Image.new('RGB', (given['width'], given['height']), tuple(given['fill_of_source']))
    image, target = Expand2square()(image, {'boxes': given['boxes'], 'points': given['points']})
    pixels = {f'{x},{y}': image.getpixel((x, y)) for x in range(image.width) for y in range(image.height)}
    return {'width': image.width, 'height': image.height, **(target or {}), 'pixels': pixels}


def norm_box(given: dict[str, Any]) -> list[float]:
    (box,) = normalise_boxes([given['box']], given['w'], given['h'])
    return [round(clamp(value), DIGITS) for value in box]


def norm_point(given: dict[str, Any]) -> list[float]:
    (point,) = normalise_points([given['point']], given['w'], given['h'])
    return [clamp(value) for value in point]


def de_norm_box(given: dict[str, Any]) -> list[float]:
    return list(denormalise_boxes([given['box']], given['w'], given['h'])[0])


def corners(given: dict[str, Any]) -> list[float]:
    """With the original's clipping of the far corner; ours is that of the dataset's door."""
    ((x0, y0, x1, y1),) = xywh_to_xyxy([given['box']])
    return [x0, y0, min(x1, given['w']), min(y1, given['h'])]


def pad_normalise_format(given: dict[str, Any]) -> dict[str, Any]:
    """Without the dataset's door, which cuts boxes at the image's edge and not at the padded square's."""
    image = Image.new('RGB', (given['width'], given['height']))
    image, target = Expand2square()(image, {'boxes': given['boxes'], 'points': given['points']})
    assert target is not None
    unit: Target = {
        'boxes': normalise_boxes(target.get('boxes', []), *image.size),
        'points': normalise_points(target.get('points', []), *image.size),
    }
    turn = given['conversations'][0]
    value = substitute(turn['value'], turn.get('boxes_seq'), turn.get('points_seq'), unit, formatter(given))
    return {'value': value}


def map_index_lists(given: dict[str, Any]) -> list[Any]:
    """Index lists -> coordinates. The original also took pairs (image, index) that its own model then refused."""
    values, sequence = given['values'], given['seq']
    if any(isinstance(index, list) for group in sequence for index in group):
        starts = [sum(map(len, values[:number])) for number in range(len(values))]
        sequence = [[starts[image] + index for image, index in group] for group in sequence]
        values = [box for boxes in values for box in boxes]
    groups: list[Any] = []

    def keep(group: list[Any]) -> str:
        groups.append(group)
        return ''

    fill(BOXES_PLACEHOLDER * len(sequence), BOXES_PLACEHOLDER, sequence, values, keep)
    return groups


OPERATIONS = {
    'format_box': format_box,
    'format_point': format_point,
    'extract_boxes': extract_boxes,
    'extract_points': extract_points,
    'substitute_boxes': substitute_boxes,
    'substitute_points': substitute_points,
    'expand2square': expand2square,
    'norm_box': norm_box,
    'norm_point': norm_point,
    'de_norm_box': de_norm_box,
    'xywh_to_xyxy': corners,
    'pad_normalise_format': pad_normalise_format,
    'map_index_lists': map_index_lists,
}
GROUPS = (
    *('format_plain', 'substitute_plain', 'roundtrip_plain', 'extract_plain', 'format_token', 'substitute_token'),
    *('roundtrip_token', 'extract_token', 'quantise', 'expand2square', 'normalise', 'chain', 'index_map'),
)


def operation(case: Case) -> Any:
    return OPERATIONS[case['op']](case['input'])


RUNNERS = dict.fromkeys(GROUPS, operation)
