"""Stage 1 of a sample's way: file, index -> one annotation, read where it lies.

The file is mapped, not read: workers share its pages, and a process holds 24 bytes per line.
"""

from __future__ import annotations

import codecs
import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

NEWLINE, BLANK = 10, 32
"""Bytes: what ends a line, and the largest that counts as a blank."""
HEAD = 64
"""So many bytes show whether a file is a JSON array."""
CHUNK = 2**24
"""So many bytes are searched for line ends at a time: a mask of a whole file could fill the memory."""


class LineFile:
    """JSON Lines as a sequence of dicts. Blank lines do not count.

    FileNotFoundError for a missing file; ValueError, with the line's number, for lines that are not JSON objects and
    for files of another kind (a JSON array, a compressed file).
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.normpath(path)  # configs name their data by way of .. and ..
        if not Path(path).is_file():
            raise FileNotFoundError(f'{path}: no such annotation file')
        self.open()
        self.check_kind()

    def open(self) -> None:
        """Map the file and find where its lines start; `numbers` are their line numbers, from 1."""
        with open(self.path, 'rb') as file:
            empty = not Path(self.path).stat().st_size  # which cannot be mapped
            self.map: mmap.mmap | bytes = b'' if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = len(self.map)
        data = np.frombuffer(self.map, dtype=np.uint8)
        chunks = range(0, size, CHUNK)
        ends = [np.flatnonzero(data[start : start + CHUNK] == NEWLINE) + start for start in chunks]
        stops = np.concatenate([*ends, [size]]).astype(np.int64)
        starts = np.concatenate([[0], stops[:-1] + 1])
        kept = stops > starts
        suspects = np.flatnonzero(kept)
        for line in suspects[data[starts[suspects]] <= BLANK]:
            kept[line] = bool(self.map[starts[line] : stops[line]].strip())
        self.starts, self.stops, self.numbers = starts[kept], stops[kept], np.flatnonzero(kept) + 1

    def check_kind(self) -> None:
        if self.map[:2] == b'\x1f\x8b':
            raise ValueError(f'{self.path} is gzip-compressed; unpack it first: lines are read where they lie')
        if starts_array(self.map[:HEAD]):
            raise ValueError(f'{self.path} is a JSON array; write one JSON object a line instead (JSON Lines)')

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f'index {index} is outside {self.path} with {len(self)} lines')
        line = self.map[self.starts[index] : self.stops[index]]
        try:
            row = json.loads(line)
        except ValueError as error:
            reason = f'{error.msg}, column {error.colno}' if isinstance(error, json.JSONDecodeError) else error
            raise ValueError(f'{self.where(index)}: not JSON ({reason}); mend or remove the line') from error
        if not isinstance(row, dict):
            raise ValueError(f'{self.where(index)}: expected a JSON object, found {type(row).__name__}')
        return row

    def where(self, index: int) -> str:
        """'path:line' of a row, for messages."""
        return f'{self.path}:{self.numbers[index]}'

    def __getstate__(self) -> str:
        return self.path

    def __setstate__(self, path: str) -> None:
        self.path = path
        self.open()


def starts_array(head: bytes) -> bool:
    """Whether a file that begins so is a JSON array."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b'['
