"""Before stage 1 of a sample's way: the official files of a dataset -> the rows its class reads, JSON Lines.

    official files --Converter.rows--> rows and Skips --convert--> {out}/{split}.jsonl and a summary

A converter is a class in a file of its own, registered in CONVERTERS under the name that `tools/convert.py` takes. It
streams: no official file is larger than the memory it needs. Its output depends on the files alone.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mllm.grounding.geometry import box_fault, clip_boxes
from mllm.registry import nearest
from mllm.types import Box
from mllm.utils.faults import lines_of
from mllm.utils.files import replacing

Row = dict[str, Any]


@dataclass(frozen=True)
class Skip:
    """Stands for a row of the official files that is left out; equal reasons are counted together."""

    reason: str


class Converter(ABC):
    """The official files of one dataset below `root`. Each split becomes one file of rows.

    splits       name -> the files below root that it is made from
    image_field  the field of rows that holds the image's path, for the summary; None if rows have no images

    Keyword arguments of a class are its options, which users give as `--set NAME=VALUE`.
    """

    splits: ClassVar[Mapping[str, Sequence[str]]]
    image_field: ClassVar[str | None] = None

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clipped = 0
        """Boxes and points of the current split that stuck out of their image."""
        self.advance: Callable[[], None] = lambda: None
        """To be called now and then during long work before the first row: something moves on the screen."""

    @abstractmethod
    def rows(self, split: str) -> Iterator[Row | Skip]:
        """The rows of a split, in the order of the official files. ValueError for files of another form."""

    def missing(self, split: str) -> list[Path]:
        """Files that a split needs and that are not there."""
        return [self.root / name for name in self.splits[split] if not (self.root / name).exists()]

    def finish(self, split: str, rows: Path) -> list[Path]:
        """Write what else belongs to a split whose rows have just been written; returns the files."""
        del split, rows
        return []

    def clip(self, box: Box, width: int, height: int) -> list[float] | Skip:
        """A box (x0, y0, x1, y1) cut to its image, and counted if it stuck out; Skip if it is no box of the image."""
        if fault := box_fault(box, width, height):
            return Skip(f'box {fault}')
        (clipped,), count = clip_boxes([box], width, height)
        self.clipped += count
        return list(clipped)


@dataclass
class Summary:
    """What became of a split."""

    split: str
    files: list[Path]
    rows: int = 0
    images: int = 0
    clipped: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def convert(converter: Converter, split: str, out: Path, advance: Callable[[], None] = lambda: None) -> Summary:
    """Write the rows of a split to `{out}/{split}.jsonl`, which appears only when it is complete.

    `advance` is called for every row read. FileNotFoundError or ValueError if the official files are not as they
    should be.
    """
    if split not in converter.splits:
        raise ValueError(f'there is no split {split!r}{nearest(split, converter.splits)}')
    if gone := converter.missing(split):
        raise FileNotFoundError(f'{split}: {", ".join(map(str, gone))} not found')
    path = out / f'{split}.jsonl'
    if path.resolve() in {(converter.root / name).resolve() for name in converter.splits[split]}:
        raise ValueError(f'{path} is an official file that this split is made from; choose another --out')
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = Summary(split, [path])
    images: set[str] = set()
    converter.clipped, converter.advance = 0, advance
    with replacing(path) as part, part.open('w', encoding='utf-8') as file:
        for row in well_formed(converter.rows(split)):
            advance()
            if isinstance(row, Skip):
                summary.skipped[row.reason] += 1
                continue
            file.write(json.dumps(row, ensure_ascii=False) + '\n')
            summary.rows += 1
            if converter.image_field and row.get(converter.image_field):
                images.add(row[converter.image_field])
    summary.images, summary.clipped = len(images), converter.clipped
    summary.files += converter.finish(split, path)
    return summary


def well_formed(rows: Iterator[Row | Skip]) -> Iterator[Row | Skip]:
    """The rows; ValueError where the official files have another form than their converter relies on."""
    count = 0
    try:
        for row in rows:
            yield row
            count += 1
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f'after {count} rows the official files have another form than they should: {lines_of(error)[0]}'
        ) from error
