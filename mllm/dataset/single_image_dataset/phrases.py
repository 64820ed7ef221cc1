"""Stage 2 of a sample's way, for texts whose phrases are marked: `<ph_st>a man<ph_ed> sits` -> `a man<boxes> sits`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mllm.types import BOXES_PLACEHOLDER

START, END = '<ph_st>', '<ph_ed>'


def with_boxes(text: str, groups: Sequence[Any]) -> str:
    """The text with <boxes> behind each phrase; ValueError unless there is one group of boxes a phrase."""
    check_marks(text, groups)
    return text.replace(START, '').replace(END, BOXES_PLACEHOLDER)


def plain(text: str) -> str:
    """The text without marks."""
    return text.replace(START, '').replace(END, '')


def with_some_boxes(text: str, chosen: Sequence[bool]) -> str:
    """The text with <boxes> behind the chosen phrases alone."""
    check_marks(text, chosen)
    head, *tails = text.replace(START, '').split(END)
    return head + ''.join((BOXES_PLACEHOLDER if use else '') + tail for use, tail in zip(chosen, tails, strict=True))


def phrases_of(text: str) -> list[str]:
    """The marked phrases, in order."""
    return [part.split(END)[0] for part in text.split(START)[1:]]


def check_marks(text: str, groups: Sequence[Any]) -> None:
    starts, ends = text.count(START), text.count(END)
    if not starts == ends == len(groups):
        raise ValueError(
            f'{text!r} has {starts} {START} and {ends} {END} for {len(groups)} groups of boxes; expected one of each '
            'for every group'
        )
