"""A list of the files of a folder with their sizes and checksums, written last: whether all of it is still as it was.

manifest.json   {"optimizer.pt": {"size": 5120, "blake2b": "9f86d0..."}, "rng/state.pth": ...}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mllm.utils.files import flush, write_text_atomically

MANIFEST = 'manifest.json'


def write_manifest(folder: Path) -> None:
    """Flush every file below `folder` to the disk, then write `manifest.json` there."""
    files = sorted(path for path in folder.rglob('*') if path.is_file() and path != folder / MANIFEST)
    for path in files:
        flush(path)
    with ThreadPoolExecutor() as pool:
        entries = dict(zip([path.relative_to(folder).as_posix() for path in files], pool.map(entry, files)))
    for inner in {path.parent for path in files}:
        flush(inner)
    write_text_atomically(folder / MANIFEST, json.dumps(entries, indent=2) + '\n')
    flush(folder)


def damage(folder: Path) -> str | None:
    """The first file below `folder` that is not as its manifest says, and how; None if all are.

    Reads every byte, but only where all sizes are right. Files that the manifest does not list are left alone.
    """
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding='utf-8'))
        listed = {folder / name: (value['size'], value['blake2b']) for name, value in entries.items()}
    except FileNotFoundError:
        return f'{folder / MANIFEST} is missing; it is written last'
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        return f'{folder / MANIFEST} cannot be read ({error})'
    return wrong_size(listed) or wrong_contents(listed)


def wrong_size(listed: Mapping[Path, tuple[int, str]]) -> str | None:
    for path, (size, _) in listed.items():
        if not path.is_file():
            return f'{path} is missing'
        if path.stat().st_size != size:
            return f'{path} has {path.stat().st_size} bytes instead of {size}'
    return None


def wrong_contents(listed: Mapping[Path, tuple[int, str]]) -> str | None:
    with ThreadPoolExecutor() as pool:
        for path, digest in zip(listed, pool.map(checksum, listed)):
            if digest != listed[path][1]:
                return f'{path} has changed since it was written (its checksum is wrong)'
    return None


def entry(path: Path) -> dict[str, Any]:
    return {'size': path.stat().st_size, 'blake2b': checksum(path)}


def checksum(path: Path) -> str:
    """blake2b of a file, 32 bytes in hexadecimal."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
