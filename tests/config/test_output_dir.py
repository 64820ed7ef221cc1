"""Which output folders a run may use."""

from pathlib import Path
from typing import Any

import pytest

from mllm.config.check import ConfigError
from mllm.config.output_dir import check_output_dir
from mllm.config.training_args import TrainingArguments


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    return TrainingArguments(**{'output_dir': str(folder), 'do_train': True, 'use_cpu': True, **changes})


@pytest.fixture
def used(tmp_path: Path) -> Path:
    (tmp_path / 'notes.txt').write_text('mine')
    return tmp_path


def test_a_folder_with_other_files_is_refused_with_three_ways_out(used: Path):
    with pytest.raises(ConfigError, match=f'output_dir {used} is not empty \\(notes.txt\\)') as error:
        check_output_dir(arguments(used), goes_on=False)
    for way in ('--output_dir', '--overwrite_output_dir', '--resume_from_checkpoint'):
        assert way in str(error.value)


def test_folders_that_may_be_used(used: Path, tmp_path_factory: pytest.TempPathFactory):
    empty = tmp_path_factory.mktemp('empty')
    check_output_dir(arguments(empty), goes_on=False)
    check_output_dir(arguments(empty / 'not there yet'), goes_on=False)
    for name in ('cfg.py', 'cfg.unfinished'):
        (empty / name).write_text('')
        check_output_dir(arguments(empty), goes_on=False)
    check_output_dir(arguments(used, overwrite_output_dir=True), goes_on=False)
    check_output_dir(arguments(used), goes_on=True)
    assert (used / 'notes.txt').read_text() == 'mine'


def test_a_file_is_no_folder(used: Path):
    with pytest.raises(ConfigError, match='is a file'):
        check_output_dir(arguments(used / 'notes.txt'), goes_on=False)


def test_afresh_and_from_a_checkpoint_at_once(used: Path):
    with pytest.raises(ConfigError, match='one of them'):
        check_output_dir(arguments(used, resume_from_checkpoint=str(used), overwrite_output_dir=True), goes_on=True)
