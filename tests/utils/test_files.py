"""A file is the old one or the new one, never half of either."""

from pathlib import Path

import pytest

from mllm.utils.files import replacing, write_text_atomically


def test_a_file_is_replaced_when_it_is_complete(tmp_path: Path):
    path = tmp_path / 'a.json'
    write_text_atomically(path, 'old')
    with replacing(path) as part:
        part.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / 'a.json'
    path.write_text('old')
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == 'old'


def write_half(path: Path) -> None:
    with replacing(path) as part:
        part.write_text('ne')
        raise RuntimeError
