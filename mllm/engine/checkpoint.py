"""What a checkpoint must hold for a run to continue from it exactly."""

from __future__ import annotations

import os
from pathlib import Path

from mllm.utils.log import get_logger

logger = get_logger(__name__)


def check_resumable(folder: str, world_size: int) -> None:
    """ValueError unless a checkpoint holds all that an exact continuation needs.

    A warning if it was written by another number of processes: the run goes on, but not as it would have.
    """
    needed = ('trainer_state.json', 'optimizer.pt', 'scheduler.pt')
    missing = [name for name in needed if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise ValueError(
            f'a run cannot continue from {folder}: {", ".join(missing)} missing. It was interrupted while it was '
            'written, or written with save_only_model; remove it to continue from the one before'
        )
    written = len(list(Path(folder).glob('rng_state*.pth')))
    if written != world_size:
        logger.warning(
            '%s was written by %d processes, this run has %d: it cannot be exact', folder, written, world_size
        )
