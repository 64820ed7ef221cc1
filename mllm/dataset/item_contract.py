"""Stage 2 of a sample's way, its end: whether what a dataset returned is a `RawItem`.

Users write datasets; what they get wrong is told as one line about the item, not as an error deep in the encoder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from PIL import Image

from mllm.conversation.template import HUMAN, check_order
from mllm.registry import nearest
from mllm.types import IMAGE_PLACEHOLDER, RawItem

TARGET_KEYS = ('boxes', 'points')


def check_item(item: RawItem) -> None:
    """ValueError unless an item has turns of text that alternate, PIL images, and lists in the target of each."""
    if not isinstance(item, Mapping):
        raise ValueError(f'the dataset returned a {type(item).__name__}; an item is a dict with conversations')
    turns, image, target = item.get('conversations'), item.get('image'), item.get('target')
    if not is_list(turns) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError(f'conversations is {shown(turns)}; expected a list of turns, dicts with from and value')
    wrong = [turn for turn in turns if not all(isinstance(turn.get(key), str) for key in ('from', 'value'))]
    if wrong:
        raise ValueError(f'a turn needs from and value, both text; this one is {shown(wrong[0])}')
    check_order(turns)
    images = image if isinstance(image, list | tuple) else [] if image is None else [image]
    if wrong := [other for other in images if not isinstance(other, Image.Image)]:
        raise ValueError(f'image is a {type(wrong[0]).__name__}; expected a PIL image, a list of them, or None')
    check_placeholders(turns, len(images))
    if isinstance(image, list | tuple) and target is not None:
        check_targets(target, len(images))
    elif target is not None:
        check_target(target, image is not None)


def check_targets(targets: Any, images: int) -> None:
    """The targets of an item with a list of images."""
    if not isinstance(targets, list | tuple) or len(targets) != images:
        raise ValueError(f'target is {shown(targets)}; an item with a list of {images} images has a list of as many')
    for target in targets:
        if target is not None:
            check_target(target, True)


def check_target(target: Any, has_image: bool) -> None:
    if not isinstance(target, Mapping):
        raise ValueError(f'target is {shown(target)}; expected a dict with lists of boxes and points')
    if unknown := [key for key in target if key not in TARGET_KEYS]:
        raise ValueError(f'target has no {unknown[0]!r}{nearest(str(unknown[0]), TARGET_KEYS)}')
    for key in TARGET_KEYS:
        if not is_list(target.get(key, [])):
            raise ValueError(f'{key} is {shown(target[key])}; expected a list, or leave it out')
        if len(target.get(key, [])) and not has_image:
            raise ValueError(f'{key} need an image, this item has none')


def check_placeholders(turns: Sequence[Mapping[str, Any]], images: int) -> None:
    """ValueError unless the questions name each image of the item exactly once."""
    asked = sum(turn['value'].count(IMAGE_PLACEHOLDER) for turn in turns if turn['from'] == HUMAN)
    told = sum(turn['value'].count(IMAGE_PLACEHOLDER) for turn in turns if turn['from'] != HUMAN)
    if told:
        raise ValueError(f'an answer has {told} {IMAGE_PLACEHOLDER} placeholders; write them in questions only')
    if asked != images:
        raise ValueError(
            f'an item with {images} images has {asked} {IMAGE_PLACEHOLDER} placeholders; write one per image'
        )


def is_list(value: Any) -> bool:
    """Whether a value is a list, a tuple, an array, ..., and no text."""
    return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
