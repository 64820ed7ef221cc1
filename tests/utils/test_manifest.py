"""Every kind of damage to a folder is found, and the file is named."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.utils.manifest import MANIFEST, damage, write_manifest

FILES = {'model.safetensors': b'weights' * 9, 'empty.json': b'', 'inner/deeper/rng 0.pth': b'\0\1\2'}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / 'folder')


def make(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    write_manifest(folder)
    return folder


def test_a_whole_folder_wherever_it_is_and_whatever_lies_beside(folder: Path, tmp_path: Path):
    assert damage(folder) is None
    (folder / 'notes.txt').write_text('mine')
    assert damage(folder.rename(tmp_path / 'moved')) is None


def test_all_files_are_listed_with_size_and_checksum(folder: Path):
    entries = json.loads((folder / MANIFEST).read_text())
    assert {name: entry['size'] for name, entry in entries.items()} == {name: len(data) for name, data in FILES.items()}
    assert len({entry['blake2b'] for entry in entries.values()}) == len(FILES)


@pytest.mark.parametrize('name', FILES)
def test_missing_cut_and_longer_files(folder: Path, name: str):
    path = folder / name
    path.write_bytes(FILES[name] + b'x')
    assert damage(folder) == f'{path} has {len(FILES[name]) + 1} bytes instead of {len(FILES[name])}'
    path.unlink()
    assert damage(folder) == f'{path} is missing'
    path.mkdir()
    assert damage(folder) == f'{path} is missing'


@given(st.sampled_from([*(name for name, data in FILES.items() if data), MANIFEST]), st.data())
def test_any_bit_that_flips(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject):
    folder = make(tmp_path_factory.mktemp('flip') / 'folder')
    contents = bytearray((folder / name).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(contents) - 1))
    contents[bit // 8] ^= 1 << bit % 8
    (folder / name).write_bytes(contents)
    fault = damage(folder)
    # A blank between two entries of the manifest may become another blank.
    if name != MANIFEST or json_or_none(contents) != json_or_none((make(folder) / MANIFEST).read_bytes()):
        assert fault
        assert str(folder) in fault
        assert name == MANIFEST or name in fault
    shutil.rmtree(folder)


def json_or_none(data: bytes | bytearray) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


@pytest.mark.parametrize('text', ['', '{"a": ', '[1]', '{"a": 5}', '{"a": {"size": 1}}', 'null'])
def test_manifests_that_cannot_be_read(folder: Path, text: str):
    (folder / MANIFEST).write_text(text)
    assert str(damage(folder)).startswith(f'{folder / MANIFEST} cannot be read')
    (folder / MANIFEST).unlink()
    assert damage(folder) == f'{folder / MANIFEST} is missing; it is written last'
