"""Writing files so that a reader never sees half of one, whenever the writer is killed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, unique: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to; if the block ends well it is on the disk and then renamed over `path`.

    If the block fails or is interrupted, nothing remains. `unique`: several processes may write the same file at once.
    """
    part = path.with_name(f'{path.name}.{uuid.uuid4().hex}.part' if unique else path.name + '.part')
    try:
        yield part
        flush(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """Write beside `path`, then rename over it."""
    with replacing(path) as part:
        part.write_text(text, encoding='utf-8')


def flush(path: Path) -> None:
    """Wait until a file's contents, or the names in a folder, are on the disk: a rename may be there before them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
