"""Before stage 1 of a sample's way: reading the large JSON files of official downloads without holding them."""

from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import ijson

FAULTS = (ijson.JSONError, UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error)


def open_json(path: Path) -> IO[bytes]:
    """A JSON file, unpacked on the way if it is gzip."""
    with path.open('rb') as file:
        packed = file.read(2) == b'\x1f\x8b'
    return gzip.open(path, 'rb') if packed else path.open('rb')  # type: ignore[return-value]


def stream_items(path: Path, prefix: str = 'item') -> Iterator[Any]:
    """The elements of an array in a JSON file: 'item' for one at the top, 'questions.item' for one in an object.

    ValueError naming the file where it is cut off, not JSON, or has no such array.
    """
    found = False
    for element in stream(path, ijson.items, prefix):
        found = True
        yield element
    if not found:
        raise ValueError(f'{path}: no array with entries at {prefix!r}; is it another file of the dataset?')


def stream_pairs(path: Path, prefix: str = '', may_be_empty: bool = False) -> Iterator[tuple[str, Any]]:
    """The (key, value) pairs of an object in a JSON file, '' for the one at the top; errors as for `stream_items`,
    but `may_be_empty` or not there at all.
    """
    found = False
    for pair in stream(path, ijson.kvitems, prefix):
        found = True
        yield pair
    if not found and not may_be_empty:
        where = repr(prefix) if prefix else 'the top'
        raise ValueError(f'{path}: no object with entries at {where}; is it another file of the dataset?')


def stream(path: Path, read: Callable[..., Iterator[Any]], prefix: str) -> Iterator[Any]:
    """What one of ijson's functions finds in a file, which may begin with the mark of UTF-8."""
    with open_json(path) as file:
        try:
            # Both kinds of file can look ahead.
            if file.peek(len(BOM_UTF8)).startswith(BOM_UTF8):  # type: ignore[attr-defined]
                file.read(len(BOM_UTF8))
            yield from read(file, prefix, use_float=True)
        except FAULTS as error:
            raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ValueError:
    """What a reader made of the bytes; parsers draw pictures below their first line."""
    reason = str(error).split('\n')[0] or type(error).__name__
    return ValueError(f'{path}: not whole JSON ({reason}); fetch it again')
