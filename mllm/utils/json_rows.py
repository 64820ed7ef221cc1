"""Stage 1 of a sample's way for annotations that come in either form: JSON Lines, or one JSON array in the memory."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Protocol

from mllm.utils.line_file import HEAD, LineFile, starts_array

BLANKS = re.compile(r'[\s,]*')
"""What may stand between two rows of an array."""


class Rows(Protocol):
    """Annotations by position; `where` names one in messages."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...

    def where(self, index: int, /) -> str: ...


def open_rows(path: str) -> Rows:
    """The rows of a file, whose form is told by its content; FileNotFoundError or ValueError as for `LineFile`."""
    if Path(path).is_file():
        with open(path, 'rb') as file:
            if starts_array(file.read(HEAD)):
                return ArrayFile(path)
    return LineFile(path)


class ArrayFile:
    """A JSON array of objects as a sequence of dicts. ValueError with the line where it is something else."""

    def __init__(self, path: str) -> None:
        self.path = os.path.normpath(path)
        self.rows: list[dict[str, Any]] = []
        self.numbers: list[int] = []
        try:
            text = Path(path).read_text(encoding='utf-8-sig')
        except UnicodeDecodeError as error:
            raise ValueError(f'{path}: not JSON ({error.reason}, byte {error.start + 1}); write it in UTF-8') from error
        decoder = json.JSONDecoder()
        position, line, counted = skip(text, text.index('[') + 1), 1, 0
        while text[position : position + 1] != ']':
            line += text.count('\n', counted, position)
            counted = position
            try:
                row, end = decoder.raw_decode(text, position)
            except json.JSONDecodeError as error:
                raise ValueError(f'{path}:{error.lineno}: not JSON ({error.msg}); mend the array') from error
            if not isinstance(row, dict):
                raise ValueError(f'{path}:{line}: expected a JSON object, found {type(row).__name__}')
            self.rows.append(row)
            self.numbers.append(line)
            position = skip(text, end)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def where(self, index: int) -> str:
        """'path:line' of the row's first line."""
        return f'{self.path}:{self.numbers[index]}'


def skip(text: str, position: int) -> int:
    """The position after blanks and commas."""
    match = BLANKS.match(text, position)
    return position if match is None else match.end()
