import io
import multiprocessing
import random
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllm.utils import image_io
from mllm.utils.image_io import (
    ImageCache,
    ImageError,
    check_image,
    decode,
    load_image,
    missing_paths,
    original_size,
    read_bytes,
    reduced_decoding,
)


def encode(image: Image.Image, kind: str = 'PNG') -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def noise(width: int = 20, height: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> ImageCache:
    cache = ImageCache(image_io.CACHE_BYTES)
    monkeypatch.setattr(image_io, '_cache', cache)
    return cache


@pytest.fixture(params=['directory', 'zip', 'tar', 'tar with ./'])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same two files in every kind of image folder: a/red.png and broken.png."""
    files = {'a/red.png': encode(Image.new('RGB', (3, 2), 'red')), 'broken.png': encode(noise())[:-30]}
    if request.param == 'directory':
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
        return str(tmp_path)
    if request.param == 'zip':
        path = tmp_path / 'images.zip'
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir('a')
            for name, data in files.items():
                archive.writestr(name, data)
        return str(path)
    path = tmp_path / 'images.tar'
    with tarfile.open(path, 'w') as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f'./{name}' if './' in request.param else name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def test_the_same_image_from_every_kind_of_folder(folder: str):
    image = load_image('a/red.png', folder)
    assert (image.mode, image.size, image.getpixel((2, 1))) == ('RGB', (3, 2), (255, 0, 0))
    assert load_image('./a/red.png', folder).size == (3, 2)
    assert read_bytes('a/red.png', folder).startswith(b'\x89PNG')


def test_what_exists(folder: str):
    paths = ['a/red.png', './a/red.png', 'a/green.png', 'a', f'a/{"x" * 300}.png', 'none/red.png']
    assert missing_paths(paths, folder) == set(paths[2:])
    with pytest.raises(ImageError, match='x' * 300):
        load_image(paths[4], folder)
    check_image('a/red.png', folder)
    check_image('./a/red.png', folder)
    for missing in ('a/green.png', 'a'):
        with pytest.raises(ImageError, match=missing):
            check_image(missing, folder)


def test_missing_and_damaged_images_are_named(folder: str):
    with pytest.raises(ImageError, match=r'a/green\.png.*(check the annotation|did you mean a/red\.png)'):
        load_image('a/green.png', folder)
    with pytest.raises(ImageError, match=r'broken\.png: truncated or damaged .*fetch it again'):
        load_image('broken.png', folder)


def test_what_is_missing_in_an_archive_comes_with_the_nearest_member(tmp_path: Path):
    path = str(tmp_path / 'images.zip')
    with zipfile.ZipFile(path, 'w') as archive:
        for name in ('noto/flat/cat.png', 'noto/flat/dog.png', 'twemoji/flat/bird.png'):
            archive.writestr(name, encode(noise()))
    for wanted, hint in (
        ('noto/flat/cat.jpg', r'did you mean noto/flat/cat\.png\?'),
        ('noto/flat/bird.png', r'did you mean twemoji/flat/bird\.png\?'),
        ('else/where.png', 'check the annotation and image_folder'),
    ):
        with pytest.raises(ImageError, match=rf'images\.zip: there is no {wanted}; {hint}'):
            load_image(wanted, path)


def test_without_folder_the_path_stands_for_itself(tmp_path: Path):
    path = str(tmp_path / 'x.png')
    noise().save(path)
    assert not missing_paths([path])
    check_image(path)
    assert load_image(path).tobytes() == noise().tobytes()


def test_a_missing_folder_is_named_alike_for_all_its_images(tmp_path: Path):
    messages = set()
    for name in ('a.png', 'b/c.png'):
        with pytest.raises(ImageError) as error:
            load_image(name, str(tmp_path / 'gone'))
        messages.add(str(error.value))
    assert messages == {f'image_folder {tmp_path}/gone does not exist'}


def test_archives_that_cannot_be_used(tmp_path: Path):
    (tmp_path / 'no.zip').write_bytes(b'not a zip')
    (tmp_path / 'no.tar').write_bytes(b'not a tar' * 100)
    (tmp_path / 'images.tar.gz').write_bytes(b'')
    for name, message in (
        ('no.zip', r'no\.zip: not a readable archive .*fetch it again'),
        ('no.tar', r'no\.tar: not a readable archive .*fetch it again'),
        ('missing.zip', r'image_folder .*missing\.zip does not exist'),
        ('images.tar.gz', r'images\.tar\.gz: compressed as a whole.*\.zip or plain \.tar'),
    ):
        with pytest.raises(ImageError, match=message):
            load_image('x.png', str(tmp_path / name))


@pytest.mark.parametrize('damage', [b'\x07', bytes(60)], ids=['not deflated data', 'wrong checksum'])
def test_a_damaged_member_is_named(tmp_path: Path, damage: bytes):
    path = tmp_path / 'images.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('x.bmp', encode(noise(), 'BMP'))
    data, start = bytearray(path.read_bytes()), 30 + len('x.bmp')
    data[start : start + len(damage)] = damage
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r'images\.zip: x\.bmp cannot be read .*fetch the archive again'):
        load_image('x.bmp', str(path))


@pytest.mark.parametrize(
    ('mode', 'colour', 'kind', 'seen'),
    [
        ('RGBA', (255, 0, 0, 128), 'PNG', (255, 127, 127)),
        ('RGBA', (0, 0, 0, 0), 'WEBP', (255, 255, 255)),
        ('LA', (0, 0), 'PNG', (255, 255, 255)),
        ('L', 10, 'PNG', (10, 10, 10)),
        ('1', 1, 'PNG', (255, 255, 255)),
        ('CMYK', (0, 255, 255, 0), 'TIFF', (255, 0, 0)),
        ('I;16', 0x8000, 'PNG', (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb_on_white(mode: str, colour: object, kind: str, seen: tuple[int, int, int]):
    image = decode(encode(Image.new(mode, (4, 4), colour), kind), 'x')
    assert (image.mode, image.getpixel((1, 1))) == ('RGB', seen)


def test_a_palette_with_a_transparent_colour_is_laid_on_white():
    image = Image.new('P', (2, 1))
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putpixel((1, 0), 1)
    buffer = io.BytesIO()
    image.save(buffer, 'PNG', transparency=0)
    seen = decode(buffer.getvalue(), 'x')
    assert [seen.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (255, 0, 0)]


def test_the_exif_orientation_is_left_alone(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lie on the side
    noise(20, 12).save(tmp_path / 'x.jpg', exif=exif)
    assert load_image('x.jpg', str(tmp_path)).size == (20, 12)


@pytest.mark.parametrize('size', [(9459, 9460), (20000, 20000)])
def test_too_large_is_one_error_without_decoding(size: tuple[int, int]):
    bomb = encode(Image.new('1', size))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(ImageError, match=r'^big\.png: .*more than 89478485.*scale it down$'):
            decode(bomb, 'big.png')


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'GIF', 'WEBP', 'BMP', 'PPM', 'TIFF'])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.floats(0, 1), changes=st.integers(0, 5))
def test_damage_of_any_kind_is_an_image_error(kind: str, seed: int, cut: float, changes: int):
    source, data = random.Random(seed), bytearray(encode(noise(), kind))
    for _ in range(changes):
        data[source.randrange(len(data))] = source.randrange(256)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            said = decode(bytes(data[: int(len(data) * cut)]), 'x.img').mode
        except ImageError as error:
            said = str(error)
    assert said == 'RGB' or said.startswith('x.img: ')


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'WEBP'])
@pytest.mark.parametrize('part', [0.0, 0.3, 0.7, 0.9])
def test_a_truncated_image_is_never_half_an_image(kind: str, part: float):
    data = encode(noise(64, 64), kind)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * part)], 'x')


@pytest.mark.parametrize(
    ('mode', 'grey', 'expected'),
    [
        ('I', [0, 200], [0, 200]),
        ('I', [40000], [156]),
        ('I', [0, 20000, 40000, 65535], [0, 78, 156, 255]),
        ('I', [0, 2**30, 2**31 - 1], [0, 127, 255]),
        ('I', [-5, 0], [0, 0]),
        ('F', [0, 0.5, 1], [0, 127, 255]),
        ('F', [0, 100, 255], [0, 100, 255]),
        ('F', [0, 500, 1000], [0, 127, 255]),
        ('F', [-1.5, 0.5, float('nan')], [0, 127, 0]),
    ],
)
def test_grey_of_32_bits_is_scaled_as_grey_of_16_is(mode: str, grey: list[float], expected: list[int]):
    image = Image.new(mode, (len(grey), 1))
    for place, value in enumerate(grey):
        image.putpixel((place, 0), value)
    pixels = decode(encode(image, 'TIFF'), 'x')
    assert [pixels.getpixel((place, 0)) for place in range(len(grey))] == [(value,) * 3 for value in expected]


def test_the_caller_may_change_what_it_got(folder: str):
    load_image('a/red.png', folder).paste((0, 0, 0), (0, 0, 3, 2))
    assert load_image('a/red.png', folder).getpixel((0, 0)) == (255, 0, 0)


def test_an_image_used_again_is_not_decoded_again(folder: str, monkeypatch: pytest.MonkeyPatch):
    first = load_image('a/red.png', folder)
    monkeypatch.setattr(image_io, 'decode', None)
    assert load_image('a/red.png', folder).tobytes() == first.tobytes()


def test_the_cache_forgets_what_was_used_longest_ago_and_stays_in_its_limit():
    cache, image = ImageCache(3 * 300), Image.new('RGB', (10, 10))
    for name in 'abc':
        cache.put((None, name), image)
    assert cache.get((None, 'a')) is image
    cache.put((None, 'd'), image)
    cache.put((None, 'd'), image)
    assert [name for _, name in cache.images] == ['c', 'a', 'd']
    assert cache.size == 900
    cache.put((None, 'big'), Image.new('RGB', (100, 100)))
    assert [name for _, name in cache.images] == ['c', 'a', 'd']
    assert cache.get((None, 'b')) is None


def test_an_archive_is_opened_once_per_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = str(tmp_path / 'images.zip')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('x.png', encode(noise()))
    opened = []
    open_zip = image_io.ZipMembers
    monkeypatch.setattr(image_io, 'ZipMembers', lambda path: opened.append(path) or open_zip(path))
    for process in (1, 1, 2, 2, 1):
        monkeypatch.setattr(image_io.os, 'getpid', lambda process=process: process)
        read_bytes('x.png', path)
        missing_paths(['x.png'], path)
        check_image('x.png', path)
    assert opened == [path, path]


def load_many(folder: str, names: list[str]) -> list[bytes]:
    image_io._cache.images.clear()
    return [load_image(name, folder).tobytes() for name in names]


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_processes_do_not_mix_up_their_reads(tmp_path: Path, method: str):
    path = str(tmp_path / 'images.zip')
    with zipfile.ZipFile(path, 'w') as archive:
        for value in range(40):
            archive.writestr(f'{value}.bmp', encode(Image.new('RGB', (40, 40), (value, 0, 0)), 'BMP'))
    names = [f'{value}.bmp' for value in range(40)]
    expected = load_many(path, names)  # opens the archive before the fork
    with multiprocessing.get_context(method).Pool(2) as pool:
        work = [(path, random.Random(job).sample(names, 40)) for job in range(4)]
        for (_, order), found in zip(work, pool.starmap(load_many, work), strict=True):
            assert found == [expected[names.index(name)] for name in order]


def test_unreadable_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / 'x.png').write_text('<html>404</html>')
    with pytest.raises(ImageError, match=r'x\.png: not an image that can be read; replace or remove it'):
        load_image('x.png', str(tmp_path))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(Path, 'read_bytes', refuse)
    with pytest.raises(ImageError, match=r'x\.png: cannot be read \(Permission denied\); check its name'):
        load_image('x.png', str(tmp_path))


@pytest.mark.parametrize(
    ('size', 'side', 'decoded'),
    [
        ((640, 480), 224, (320, 240)),
        ((641, 481), 224, (321, 241)),
        ((2000, 1000), 224, (250, 125)),
        ((400, 300), 224, (400, 300)),
        ((200, 100), 224, (200, 100)),
        ((300, 2000), 224, (38, 250)),
    ],
)
def test_jpegs_are_decoded_as_small_as_the_model_can_see(tmp_path, size, side, decoded):
    Image.effect_noise(size, 60).convert('RGB').save(tmp_path / 'a.jpg')
    with reduced_decoding(side):
        image = load_image('a.jpg', str(tmp_path))
    assert image.size == decoded
    assert max(image.size) >= min(side, max(size))
    assert original_size(image) == size
    assert original_size(image.copy()) == size
    # Outside, and for other formats, nothing is reduced.
    assert load_image('a.jpg', str(tmp_path)).size == size
    image.save(tmp_path / 'b.png')
    with reduced_decoding(side):
        assert load_image('b.png', str(tmp_path)).size == decoded
    assert original_size(load_image('b.png', str(tmp_path))) == decoded
