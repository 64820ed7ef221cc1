"""Stage 5 of a sample's way: boxes and points (0..1) -> text, and back; format and extract are exact inverses.

The formats are Shikra's: `[x0,y0,x1,y1;...]` with decimals, or one token per coordinate. A *group* is the list of
boxes (or points) that one placeholder stands for.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral

from mllm.registry import FORMATTERS
from mllm.types import BOXES_PLACEHOLDER, POINTS_PLACEHOLDER, Box, Point, Target

Group = list[list[float]]


class BoxFormatter(ABC):
    """Writes groups of boxes and points as text and reads them back. Values outside 0..1 are clamped.

    decimals   boxes are rounded to so many before they are written, points are not: so published models were trained
    """

    decimals: int = 3

    @abstractmethod
    def format_boxes(self, boxes: Sequence[Box]) -> str: ...

    @abstractmethod
    def format_points(self, points: Sequence[Point]) -> str: ...

    @abstractmethod
    def extract_boxes(self, text: str) -> list[Group]:
        """All groups of boxes in a text, in order."""

    @abstractmethod
    def extract_points(self, text: str) -> list[Group]:
        """All groups of points in a text, in order."""

    @abstractmethod
    def remove(self, text: str) -> str:
        """The text without its groups of boxes and points."""

    def special_tokens(self) -> list[str]:
        """Tokens that a tokenizer must know."""
        return []


def clamp(value: float) -> float:
    # In this order -0.0 becomes 0.0: a sign could not be read back.
    return min(1.0, max(0.0, float(value)))


@FORMATTERS.register_module()
class PlainBoxFormatter(BoxFormatter):
    """`[0.100,0.200,0.300,0.400;...]` with `precision` decimals; round brackets if `use_small_brackets`."""

    def __init__(self, precision: int = 3, use_small_brackets: bool = False) -> None:
        if not isinstance(precision, int) or precision < 0:
            raise ValueError(f'PlainBoxFormatter: precision={precision!r}, expected a number of decimals, 0 or more')
        self.precision = precision
        self.decimals = max(self.decimals, precision)
        self.left, self.right = '()' if use_small_brackets else '[]'
        self.box_pattern, self.point_pattern = self.pattern(4), self.pattern(2)

    def pattern(self, count: int) -> re.Pattern[str]:
        numbers = ','.join([r'[0-9](?:\.[0-9]*)?'] * count)
        return re.compile(rf'{re.escape(self.left)}({numbers}(?:;{numbers})*){re.escape(self.right)}')

    def format(self, rows: Sequence[Sequence[float]]) -> str:
        texts = (','.join(f'{clamp(value):.{self.precision}f}' for value in row) for row in rows)
        return self.left + ';'.join(texts) + self.right

    def extract(self, text: str, pattern: re.Pattern[str]) -> list[Group]:
        return [
            [[float(value) for value in row.split(',')] for row in group.split(';')] for group in pattern.findall(text)
        ]

    def format_boxes(self, boxes: Sequence[Box]) -> str:
        return self.format(boxes)

    def format_points(self, points: Sequence[Point]) -> str:
        return self.format(points)

    def extract_boxes(self, text: str) -> list[Group]:
        return self.extract(text, self.box_pattern)

    def extract_points(self, text: str) -> list[Group]:
        return self.extract(text, self.point_pattern)

    def remove(self, text: str) -> str:
        return self.point_pattern.sub('', self.box_pattern.sub('', text))


@FORMATTERS.register_module()
class TokenFormatter(BoxFormatter):
    """One token per coordinate: `<b_st><bin_i> <bin_j> <bin_k> <bin_l><b_sep>...<b_ed>`; i = round(v * (bins - 1))."""

    def __init__(self, num_bins: int = 1001) -> None:
        if not isinstance(num_bins, int) or num_bins < 2:
            raise ValueError(f'TokenFormatter: num_bins={num_bins!r}, expected a number of bins, 2 or more')
        self.num_bins = num_bins
        self.decimals = max(self.decimals, len(str(num_bins - 2)))

    def format(self, rows: Sequence[Sequence[float]], kind: str) -> str:
        texts = (' '.join(f'<bin_{round(clamp(value) * (self.num_bins - 1))}>' for value in row) for row in rows)
        return f'<{kind}_st>' + f'<{kind}_sep>'.join(texts) + f'<{kind}_ed>'

    def extract(self, text: str, kind: str, count: int) -> list[Group]:
        # Decoders may or may not write blanks between special tokens.
        packed = text.replace(' ', '')
        row = r'(?:<bin_[0-9]+>)' + f'{{{count}}}'
        groups = re.findall(rf'<{kind}_st>({row}(?:<{kind}_sep>{row})*)<{kind}_ed>', packed)
        return [[self.values(part) for part in group.split(f'<{kind}_sep>')] for group in groups]

    def values(self, text: str) -> list[float]:
        return [int(number) / (self.num_bins - 1) for number in re.findall(r'<bin_([0-9]+)>', text)]

    def format_boxes(self, boxes: Sequence[Box]) -> str:
        return self.format(boxes, 'b')

    def format_points(self, points: Sequence[Point]) -> str:
        return self.format(points, 'p')

    def extract_boxes(self, text: str) -> list[Group]:
        return self.extract(text, 'b', 4)

    def extract_points(self, text: str) -> list[Group]:
        return self.extract(text, 'p', 2)

    def remove(self, text: str) -> str:
        # The tokens take the blanks around them, so a decoded text has none between a group and the next word.
        return re.sub(r'<([bp])_st>\s*(?:<bin_[0-9]+>|<\1_sep>|\s)*<\1_ed>', ' ', text)

    def special_tokens(self) -> list[str]:
        marks = [f'<{kind}_{name}>' for kind in 'bp' for name in ('st', 'sep', 'ed')]
        return marks + [f'<bin_{number}>' for number in range(self.num_bins)]


def substitute(
    value: str,
    boxes_seq: Sequence[Sequence[int]] | None,
    points_seq: Sequence[Sequence[int]] | None,
    target: Target | None,
    formatter: BoxFormatter,
) -> str:
    """The text with its k-th `<boxes>` replaced by the boxes that `boxes_seq[k]` names, and points likewise.

    `target` holds boxes and points in 0..1. ValueError if placeholders and sequences differ in number or an index names
    nothing.
    """
    target = target or {}
    value = fill(value, BOXES_PLACEHOLDER, boxes_seq, target.get('boxes', []), formatter.format_boxes)
    return fill(value, POINTS_PLACEHOLDER, points_seq, target.get('points', []), formatter.format_points)


def fill(
    value: str,
    placeholder: str,
    sequence: Sequence[Sequence[int]] | None,
    entries: Sequence[Sequence[float]],
    write: Callable[[list[Sequence[float]]], str],
) -> str:
    """`substitute` for one kind of placeholder."""
    kind, sequence = placeholder.strip('<>'), sequence or []
    name = f'{kind}_seq'
    parts = value.split(placeholder)
    if len(parts) - 1 != len(sequence):
        raise ValueError(f'{len(parts) - 1} {placeholder} in {value!r}, but {name} has {len(sequence)} entries')
    if not all(isinstance(group, Sequence) and not isinstance(group, str) and len(group) for group in sequence):
        raise ValueError(
            f'{name}={sequence!r}: expected a list of numbers for each {placeholder}, such as [[0], [1, 2]]'
        )
    wrong = [index for group in sequence for index in group if not is_index(index, len(entries))]
    if wrong:
        raise ValueError(f'{name} names {kind} {wrong}, but the target has {len(entries)} {kind} (numbered from 0)')
    texts = [write([entries[index] for index in group]) for group in sequence]
    return parts[0] + ''.join(text + part for text, part in zip(texts, parts[1:], strict=True))


def is_index(value: object, count: int) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < count
