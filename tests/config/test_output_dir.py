"""Which output folders a run may use, and where it continues."""

from pathlib import Path
from typing import Any

import pytest

from mllm.config.check import ConfigError
from mllm.config.output_dir import check_output_dir, last_checkpoint, remove_old_checkpoints
from mllm.config.training_args import TrainingArguments


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    return TrainingArguments(**{'output_dir': str(folder), 'do_train': True, 'use_cpu': True, **changes})


def make_checkpoint(folder: Path, step: int, complete: bool = True) -> Path:
    path = folder / f'checkpoint-{step}'
    path.mkdir(parents=True)
    (path / ('trainer_state.json' if complete else 'model.safetensors')).write_text('{}')
    return path


@pytest.fixture
def used(tmp_path: Path) -> Path:
    (tmp_path / 'notes.txt').write_text('mine')
    return tmp_path


def test_a_folder_with_other_files_is_refused_with_three_ways_out(used: Path):
    with pytest.raises(ConfigError, match=f'output_dir {used} is not empty \\(notes.txt\\)') as error:
        check_output_dir(arguments(used))
    for way in ('--output_dir', '--overwrite_output_dir', '--resume_from_checkpoint'):
        assert way in str(error.value)


def test_folders_that_may_be_used(used: Path, tmp_path_factory: pytest.TempPathFactory):
    empty = tmp_path_factory.mktemp('empty')
    check_output_dir(arguments(empty))
    check_output_dir(arguments(empty / 'not there yet'))
    (empty / 'cfg.py').write_text('')
    check_output_dir(arguments(empty))
    check_output_dir(arguments(used, overwrite_output_dir=True))
    check_output_dir(arguments(used, do_train=False, do_predict=True))
    make_checkpoint(used, 5)
    check_output_dir(arguments(used))
    assert (used / 'notes.txt').read_text() == 'mine'


def test_a_file_is_no_folder(used: Path):
    with pytest.raises(ConfigError, match='is a file'):
        check_output_dir(arguments(used / 'notes.txt'))


def test_only_rank_0_looks(used: Path, monkeypatch: pytest.MonkeyPatch):
    # Rank 0 may have written by the time another rank looks.
    monkeypatch.setattr(TrainingArguments, 'process_index', 1)
    check_output_dir(arguments(used))


def test_the_last_complete_checkpoint_is_found_by_number(tmp_path: Path):
    for step in (9, 10, 100):
        make_checkpoint(tmp_path, step)
    make_checkpoint(tmp_path, 200, complete=False)
    (tmp_path / 'checkpoint-best').mkdir()
    (tmp_path / 'checkpoint-300').write_text('a file')
    assert last_checkpoint(arguments(tmp_path)) == str(tmp_path / 'checkpoint-100')
    assert last_checkpoint(arguments(tmp_path, overwrite_output_dir=True)) is None
    assert last_checkpoint(arguments(tmp_path / 'empty')) is None


def test_a_folder_with_a_cut_off_checkpoint_only_is_refused(tmp_path: Path):
    make_checkpoint(tmp_path, 5, complete=False)
    assert last_checkpoint(arguments(tmp_path)) is None
    with pytest.raises(ConfigError, match='no complete checkpoint'):
        check_output_dir(arguments(tmp_path))


def test_a_named_checkpoint_is_respected(used: Path, tmp_path_factory: pytest.TempPathFactory):
    make_checkpoint(used, 5)
    other = make_checkpoint(tmp_path_factory.mktemp('other'), 3)
    named = arguments(used, resume_from_checkpoint=str(other))
    check_output_dir(named)
    assert last_checkpoint(named) == str(other)
    with pytest.raises(ConfigError, match='no checkpoint there'):
        check_output_dir(arguments(used, resume_from_checkpoint=str(used)))
    with pytest.raises(ConfigError, match='one of them'):
        check_output_dir(arguments(used, resume_from_checkpoint=str(other), overwrite_output_dir=True))


def test_overwriting_removes_checkpoints_and_nothing_else(used: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [make_checkpoint(used, 5), make_checkpoint(used, 7, complete=False)]
    remove_old_checkpoints(arguments(used))
    assert all(path.is_dir() for path in paths)
    with monkeypatch.context() as context:
        context.setattr(TrainingArguments, 'process_index', 1)
        remove_old_checkpoints(arguments(used, overwrite_output_dir=True))
    assert all(path.is_dir() for path in paths)
    remove_old_checkpoints(arguments(used, overwrite_output_dir=True))
    assert [path.name for path in used.iterdir()] == ['notes.txt']
