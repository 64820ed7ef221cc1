"""Stage 2 of a sample's way, the image: (path, folder) -> PIL image, from a directory, a zip or a tar.

Images are as stored (no EXIF rotation: boxes of annotations refer to stored pixels). What has transparency is laid on
white.
"""

from __future__ import annotations

import difflib
import functools
import io
import math
import os
import posixpath
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from PIL import Image

ARCHIVES = ('.zip', '.tar')
COMPRESSED = ('.tar.gz', '.tgz', '.tar.bz2', '.tar.xz', '.tar.zst')
MAX_PIXELS = 89_478_485
"""PIL's own limit; beyond it a small file can fill the memory."""
CACHE_BYTES = 64 * 2**20
ORIGINAL_SIZE = 'original_size'
"""Where an image that was decoded at a reduced scale keeps its size as stored."""

DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What PIL, zipfile and tarfile raise on bytes that are not what they should be (seen by trying)."""


class ImageError(ValueError):
    """An image that is missing, unreadable, truncated or too large: one line, with file and remedy."""


class ZipMembers:
    """Members of a zip by path."""

    def __init__(self, path: str) -> None:
        self.archive = zipfile.ZipFile(path)
        self.members = {
            posixpath.normpath(info.filename): info for info in self.archive.infolist() if not info.is_dir()
        }

    def read(self, name: str) -> bytes:
        return self.archive.read(self.members[name])


class TarMembers:
    """Members of an uncompressed tar by path."""

    def __init__(self, path: str) -> None:
        self.archive = tarfile.open(path, 'r:')  # noqa: SIM115 - stays open for later reads
        self.members = {posixpath.normpath(member.name): member for member in self.archive if member.isfile()}

    def read(self, name: str) -> bytes:
        file = self.archive.extractfile(self.members[name])
        return b'' if file is None else file.read()


@functools.lru_cache(maxsize=16)
def open_archive(path: str, process: int) -> ZipMembers | TarMembers:
    """An archive, opened once per process: a file position shared by forked workers would mix up their reads."""
    del process
    if path.lower().endswith(COMPRESSED):
        raise ImageError(f'{path}: compressed as a whole, so no image can be read alone; pack it as .zip or plain .tar')
    check_folder(path)
    try:
        return ZipMembers(path) if path.lower().endswith('.zip') else TarMembers(path)
    except (zipfile.BadZipFile, tarfile.ReadError, OSError) as error:
        raise ImageError(f'{path}: not a readable archive ({error}); fetch it again') from error


def in_archive(folder: str | None) -> bool:
    return folder is not None and folder.lower().endswith(ARCHIVES + COMPRESSED) and not os.path.isdir(folder)


def missing_paths(paths: Iterable[str], folder: str | None = None) -> set[str]:
    """Those of `paths` that are no file or member; none is opened, and each directory is listed once.

    ImageError if the archive itself cannot be read.
    """
    if in_archive(folder):
        members = open_archive(str(folder), os.getpid()).members
        return {path for path in paths if posixpath.normpath(path) not in members}
    listed: dict[str, set[str]] = {}
    missing = set()
    for path in paths:
        directory, name = os.path.split(os.path.join(folder or '', path))
        if directory not in listed:
            listed[directory] = files_in(directory or '.')
        if name not in listed[directory]:
            missing.add(path)
    return missing


def files_in(directory: str) -> set[str]:
    """Names of the files of a directory, none if there is no such directory."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def check_folder(folder: str | None) -> None:
    """ImageError if there is no such folder or archive: the same for every image of it."""
    if folder is not None and not os.path.exists(folder):
        raise ImageError(f'image_folder {folder} does not exist')


def check_image(path: str, folder: str | None = None) -> None:
    """ImageError with the nearest name unless the file or member is there; it is not opened."""
    if in_archive(folder):
        name, members = posixpath.normpath(path), open_archive(str(folder), os.getpid()).members
        if name not in members:
            raise ImageError(f'{folder}: there is no {path}{similar(name, members)}')
        return
    full = Path(folder or '', path)
    if not os.path.isfile(full):  # a name that is too long is no file either
        check_folder(folder)
        raise ImageError(f'{full}: no such image; check the annotation and image_folder')


def read_bytes(path: str, folder: str | None = None) -> bytes:
    """The file's content; ImageError if there is none, or it cannot be read."""
    check_image(path, folder)
    if in_archive(folder):
        try:
            return open_archive(str(folder), os.getpid()).read(posixpath.normpath(path))
        except (*DAMAGE, zipfile.BadZipFile, tarfile.TarError) as error:
            raise ImageError(f'{folder}: {path} cannot be read ({error}); fetch the archive again') from error
    full = Path(folder or '', path)
    try:
        return full.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ImageError(f'{full}: no such image; check the annotation and image_folder') from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f'{full}: cannot be read ({reason}); check its name and permissions') from error


def similar(path: str, names: Collection[str]) -> str:
    """A hint: the member of the same file name elsewhere, or the nearest path in the same folder."""
    folder, name = os.path.split(path)
    moved = sorted(other for other in names if os.path.basename(other) == name)
    neighbours = [other for other in names if os.path.dirname(other) == folder]
    close = moved[:1] or difflib.get_close_matches(path, neighbours, n=1)
    return f'; did you mean {close[0]}?' if close else '; check the annotation and image_folder'


def load_image(path: str, folder: str | None = None) -> Image.Image:
    """The image as RGB; the caller may change it. ImageError if it is missing, unreadable, truncated or too large."""
    side = _side.get()
    key = (folder, path, side)
    image = _cache.get(key)
    if image is None:
        where = f'{folder}: {path}' if in_archive(folder) else os.path.join(folder or '', path)
        image = decode(read_bytes(path, folder), where, side)
        _cache.put(key, image)
    return image.copy()


@contextmanager
def reduced_decoding(side: int | None) -> Iterator[None]:
    """Within the block, JPEGs are decoded at 1/2, 1/4 or 1/8 as long as their longer side keeps `side` pixels.

    Their `original_size` is kept. None: as they are stored.
    """
    token = _side.set(side)
    try:
        yield
    finally:
        _side.reset(token)


def original_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image as stored, which boxes and points refer to."""
    return image.info.get(ORIGINAL_SIZE, image.size)


def reduce_scale(image: Image.Image, side: int) -> None:
    """Have the decoder leave out detail (DCT scaling) that an image of `side` pixels could not show."""
    size = image.size
    wanted = [max(1, math.ceil(length * side / max(size))) for length in size]
    if max(size) > side and image.draft(None, (wanted[0], wanted[1])) is not None and image.size != size:
        image.info[ORIGINAL_SIZE] = size


def decode(data: bytes, where: str, side: int | None = None) -> Image.Image:
    """Bytes -> RGB image; `where` names it in errors, `side` is as for `reduced_decoding`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # an error below
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageError(f'{where}: more than {MAX_PIXELS} pixels; scale it down') from error
    except DAMAGE as error:
        raise ImageError(f'{where}: not an image that can be read; replace or remove it') from error
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f'{where}: {image.width}x{image.height} pixels, more than {MAX_PIXELS}; scale it down')
    try:
        if side is not None:
            reduce_scale(image, side)
        return to_rgb(image)
    except DAMAGE as error:
        raise ImageError(f'{where}: truncated or damaged ({error}); fetch it again') from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB: transparency laid on white, deep grey scaled to 8 bits (PIL alone would cut it off at 255)."""
    image.load()
    if image.mode.startswith('I;16'):
        return image.point(lambda value: value / 256).convert('L').convert('RGB')
    if image.mode in ('I', 'F'):
        grey = np.nan_to_num(np.asarray(image, dtype=np.float64)).clip(0) * deep_grey_scale(image)
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert('RGB')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('RGB')


def deep_grey_scale(image: Image.Image) -> float:
    """What brings grey of 32 bits to 0..255.

    Its file says no range, so it is the smallest usual one that holds it (0..1 of floats, 8 bits, 16 bits of whole
    numbers): an image keeps its brightness beside others. Beyond these it is that of the image.
    """
    brightest = float(np.nan_to_num(np.asarray(image, dtype=np.float64)).max())
    if image.mode == 'F' and brightest <= 1:
        return 255.0
    if brightest < 2**8:
        return 1.0
    return 2.0**-8 if image.mode == 'I' and brightest < 2**16 else 255 / brightest


CacheKey = tuple[str | None, str, int | None]
"""Folder, path, and the side of reduced decoding."""


class ImageCache:
    """The images used last, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.images: OrderedDict[CacheKey, Image.Image] = OrderedDict()

    def get(self, key: CacheKey) -> Image.Image | None:
        if key in self.images:
            self.images.move_to_end(key)
        return self.images.get(key)

    def put(self, key: CacheKey, image: Image.Image) -> None:
        if key in self.images or image_bytes(image) > self.limit:
            return
        self.images[key] = image
        self.size += image_bytes(image)
        while self.size > self.limit:
            _, oldest = self.images.popitem(last=False)
            self.size -= image_bytes(oldest)


def image_bytes(image: Image.Image) -> int:
    return image.width * image.height * 3


_side: ContextVar[int | None] = ContextVar('side', default=None)
_cache = ImageCache(CACHE_BYTES)
