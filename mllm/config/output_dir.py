"""Whether a run may write into its output folder; before stage 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mllm.config.check import ConfigError

if TYPE_CHECKING:
    from mllm.config.training_args import TrainingArguments

CONFIG_NAME = 'cfg.py'
UNFINISHED_CONFIG = 'cfg.unfinished'


def check_output_dir(training_args: TrainingArguments, goes_on: bool) -> None:
    """ConfigError where training would mix with the files of another run. Touches nothing.

    `goes_on`: there is a checkpoint to continue from, or a run that was cut off before its first. A folder with
    nothing but `cfg.py` counts as empty: it is left by a run that stopped before its first step.
    """
    folder, resume = Path(str(training_args.output_dir)), training_args.resume_from_checkpoint
    if resume and training_args.overwrite_output_dir:
        raise ConfigError(
            ['--overwrite_output_dir starts afresh, --resume_from_checkpoint continues: give one of them']
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigError([f'output_dir {folder} is a file; name a folder'])
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    empty = set(found) <= {CONFIG_NAME, UNFINISHED_CONFIG}
    if empty or goes_on or training_args.overwrite_output_dir:
        return
    listed = ', '.join(found[:5]) + (', ...' if len(found) > 5 else '')
    raise ConfigError(
        [
            f'output_dir {folder} is not empty ({listed}) and has no complete checkpoint to continue from; '
            'give another --output_dir, or --overwrite_output_dir to start afresh in it, '
            'or --resume_from_checkpoint PATH'
        ]
    )
