"""Stage 2 of a sample's way, the image: (path, folder) -> PIL image, from a directory, a zip or a tar.

Images are as stored (no EXIF rotation: boxes of annotations refer to stored pixels). What has transparency is laid on
white.
"""

from __future__ import annotations

import difflib
import functools
import io
import os
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

from PIL import Image, UnidentifiedImageError

ARCHIVES = ('.zip', '.tar')
MAX_PIXELS = 89_478_485
"""PIL's own limit; beyond it a small file can fill the memory."""
CACHE_BYTES = 64 * 2**20


class ImageError(ValueError):
    """An image that is missing, unreadable, truncated or too large: one line, with file and remedy."""


class ZipMembers:
    """Members of a zip by path."""

    def __init__(self, path: str) -> None:
        self.archive = zipfile.ZipFile(path)
        self.names = set(self.archive.namelist())

    def read(self, name: str) -> bytes:
        return self.archive.read(name)


class TarMembers:
    """Members of an uncompressed tar by path."""

    def __init__(self, path: str) -> None:
        self.archive = tarfile.open(path, 'r:')  # noqa: SIM115 - stays open for later reads
        self.members = {member.name: member for member in self.archive if member.isfile()}
        self.names = set(self.members)

    def read(self, name: str) -> bytes:
        file = self.archive.extractfile(self.members[name])
        return b'' if file is None else file.read()


@functools.lru_cache(maxsize=16)
def open_archive(path: str, process: int) -> ZipMembers | TarMembers:
    """An archive, opened once per process: a file position shared by forked workers would mix up their reads."""
    del process
    if not os.path.isfile(path):
        raise ImageError(f'{path}: no such image archive')
    try:
        return ZipMembers(path) if path.endswith('.zip') else TarMembers(path)
    except (zipfile.BadZipFile, tarfile.ReadError) as error:
        raise ImageError(f'{path}: not a readable archive ({error}); fetch it again') from error


def in_archive(folder: str | None) -> bool:
    return folder is not None and folder.endswith(ARCHIVES)


def image_exists(path: str, folder: str | None = None) -> bool:
    """Whether the file or member is there; it is not opened."""
    if in_archive(folder):
        return path in open_archive(str(folder), os.getpid()).names
    return os.path.isfile(os.path.join(folder or '', path))


def read_bytes(path: str, folder: str | None = None) -> bytes:
    """The file's content; ImageError with the nearest name if there is none."""
    if in_archive(folder):
        archive = open_archive(str(folder), os.getpid())
        if path not in archive.names:
            raise ImageError(f'{folder}: there is no {path}{similar(path, archive.names)}')
        try:
            return archive.read(path)
        except (zipfile.BadZipFile, tarfile.ReadError, OSError) as error:
            raise ImageError(f'{folder}: {path} cannot be read ({error}); fetch the archive again') from error
    full = Path(folder or '', path)
    if not full.is_file():
        raise ImageError(f'{full}: no such image; check the annotation and image_folder')
    return full.read_bytes()


def similar(path: str, names: set[str]) -> str:
    """A hint: the member of the same file name elsewhere, or the nearest path in the same folder."""
    folder, name = os.path.split(path)
    moved = sorted(other for other in names if os.path.basename(other) == name)
    neighbours = [other for other in names if os.path.dirname(other) == folder]
    close = moved[:1] or difflib.get_close_matches(path, neighbours, n=1)
    return f'; did you mean {close[0]}?' if close else '; check the annotation and image_folder'


def load_image(path: str, folder: str | None = None) -> Image.Image:
    """The image as RGB; the caller may change it. ImageError if it is missing, unreadable, truncated or too large."""
    key = (folder, path)
    image = _cache.get(key)
    if image is None:
        where = f'{folder}: {path}' if in_archive(folder) else os.path.join(folder or '', path)
        image = decode(read_bytes(path, folder), where)
        _cache.put(key, image)
    return image.copy()


def decode(data: bytes, where: str) -> Image.Image:
    """Bytes -> RGB image; `where` names it in errors."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f'{where}: {image.width}x{image.height} pixels, more than {MAX_PIXELS}; scale it down')
        image.load()
    except UnidentifiedImageError as error:
        raise ImageError(f'{where}: not an image that can be read; replace or remove it') from error
    except Image.DecompressionBombError as error:
        raise ImageError(f'{where}: {error}; scale it down') from error
    except (OSError, SyntaxError, EOFError) as error:
        raise ImageError(f'{where}: truncated or damaged ({error}); fetch it again') from error
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('RGB')


class ImageCache:
    """The images used last, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.images: OrderedDict[tuple[str | None, str], Image.Image] = OrderedDict()

    def get(self, key: tuple[str | None, str]) -> Image.Image | None:
        if key in self.images:
            self.images.move_to_end(key)
        return self.images.get(key)

    def put(self, key: tuple[str | None, str], image: Image.Image) -> None:
        self.images[key] = image
        self.size += image_bytes(image)
        while self.size > self.limit:
            _, oldest = self.images.popitem(last=False)
            self.size -= image_bytes(oldest)


def image_bytes(image: Image.Image) -> int:
    return image.width * image.height * 3


_cache = ImageCache(CACHE_BYTES)
