"""Whether a run may write into its output folder, and where it continues; before stage 1."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mllm.config.check import ConfigError

if TYPE_CHECKING:
    from mllm.config.training_args import TrainingArguments

CONFIG_NAME = 'cfg.py'
TRAINER_STATE = 'trainer_state.json'
"""Written last: a checkpoint without it was cut off while it was saved."""


def check_output_dir(training_args: TrainingArguments) -> None:
    """ConfigError where training would mix with the files of another run. Looks on rank 0 only, touches nothing.

    A folder with nothing but `cfg.py` counts as empty: it is left by a run that stopped before its first step.
    """
    if not training_args.do_train or training_args.process_index != 0:
        return
    folder, resume = Path(str(training_args.output_dir)), training_args.resume_from_checkpoint
    if resume and training_args.overwrite_output_dir:
        raise ConfigError(
            ['--overwrite_output_dir starts afresh, --resume_from_checkpoint continues: give one of them']
        )
    if resume and not Path(resume, TRAINER_STATE).is_file():
        raise ConfigError([f'resume_from_checkpoint {resume}: no checkpoint there (no {TRAINER_STATE})'])
    if folder.exists() and not folder.is_dir():
        raise ConfigError([f'output_dir {folder} is a file; name a folder'])
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    empty = set(found) <= {CONFIG_NAME}
    if empty or resume or training_args.overwrite_output_dir or last_checkpoint(training_args):
        return
    listed = ', '.join(found[:5]) + (', ...' if len(found) > 5 else '')
    raise ConfigError(
        [
            f'output_dir {folder} is not empty ({listed}) and has no complete checkpoint to continue from; '
            'give another --output_dir, or --overwrite_output_dir to start afresh in it, '
            'or --resume_from_checkpoint PATH'
        ]
    )


def last_checkpoint(training_args: TrainingArguments) -> str | None:
    """The checkpoint training continues from: the one named, else the last complete one of `output_dir`.

    None without one, and with `overwrite_output_dir`.
    """
    if training_args.overwrite_output_dir:
        return None
    if training_args.resume_from_checkpoint:
        return training_args.resume_from_checkpoint
    complete = [path for path in checkpoints(training_args) if (path / TRAINER_STATE).is_file()]
    return str(complete[-1]) if complete else None


def remove_old_checkpoints(training_args: TrainingArguments) -> None:
    """With `overwrite_output_dir`, remove the checkpoints of the run before: they would count as later steps.

    For just before the first step, when all else is known to work. Rank 0 only (of each node that saves).
    """
    if training_args.overwrite_output_dir and training_args.should_save:
        for path in checkpoints(training_args):
            shutil.rmtree(path)


def checkpoints(training_args: TrainingArguments) -> list[Path]:
    """Folders `checkpoint-N` of `output_dir`, by step."""
    folder = Path(str(training_args.output_dir))
    found = folder.iterdir() if folder.is_dir() else ()
    steps = {path: re.fullmatch(r'checkpoint-(\d+)', path.name) for path in found if path.is_dir()}
    return sorted((path for path, match in steps.items() if match), key=lambda path: int(path.name.split('-')[1]))
