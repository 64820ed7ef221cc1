"""`python -m tests.parity` on folders made here, and on ones that are not as they should be."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.parity.__main__ import main
from tests.parity.own_folders import old_format, spliced_format


@pytest.fixture(params=[old_format, spliced_format])
def folder(request, tmp_path: Path) -> Path:
    return request.param(tmp_path / 'folder')


def test_what_is_equal_passes(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert 'logits of plain transformers' in out
    assert float(out.split('largest difference: ')[1].split()[0]) < 1e-5


def test_what_differs_fails_and_is_named(folder: Path, capsys: pytest.CaptureFixture[str]):
    io = load_file(folder / 'io.safetensors')
    name = next(name for name in io if name.endswith('logits'))
    io[name][0, -1, 3] += 1e-3
    save_file(io, folder / 'io.safetensors')
    assert main([str(folder)]) == 1
    assert 'not equal to the original: folder' in capsys.readouterr().out


def test_folders_of_no_known_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path)]) == 1
    assert 'has no config.json, state_dict.safetensors, io.safetensors' in capsys.readouterr().out
    for name in ('state_dict.safetensors', 'io.safetensors'):
        save_file({}, tmp_path / name)
    (tmp_path / 'config.json').write_text('{}')
    assert main([str(tmp_path)]) == 1
    assert 'of no model known here' in capsys.readouterr().out
