"""The checkpoints of an output folder: how one comes to be and goes, which count, what one must hold to go on from.

    _unfinished/checkpoint-N           being written by all ranks; then its manifest.json
    checkpoint-N                       renamed when complete; only then is an older one
    _unfinished/removed-checkpoint-M   renamed, and removed
    _unfinished/model                  the final model, whose files are then moved to the output folder

So a name `checkpoint-N` never stands for half a one. `_unfinished` is there from before the first step until the
final model is in its place: it tells a run that was cut off from one that ended.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from mllm.utils.files import flush
from mllm.utils.log import get_logger
from mllm.utils.manifest import damage, write_manifest

logger = get_logger(__name__)

UNFINISHED = '_unfinished'
"""What begins with _ is not uploaded to the Hub."""


# ---- where a run goes on ----


def resume_point(output_dir: str, named: str | None = None, afresh: bool = False) -> str | None:
    """The checkpoint a run goes on from: the one `named`, else the last whole one of `output_dir`; None for none.

    Reads all of it to compare checksums, so one rank does it for all. ValueError if the one named is damaged.
    """
    if afresh:
        return None
    if named:
        check_undamaged(named)
        return named
    for path in reversed(checkpoints(output_dir)):
        fault = weights_alone(path) or damage(path)
        if not fault:
            return str(path)
        logger.warning('not continued from %s: %s', path.name, fault)
    return None


def check_undamaged(folder: str) -> None:
    """ValueError that names the file of a checkpoint which is missing or not as it was written."""
    fault = damage(Path(folder))
    if fault:
        raise ValueError(f'checkpoint {folder} is damaged or was not written to its end: {fault}')


def weights_alone(folder: Path) -> str | None:
    """Whether only the weights were kept, which is no fault of the disk."""
    if (folder / TRAINER_STATE_NAME).is_file() and not any(folder.glob('rng_state*.pth')):
        return 'it was written with save_only_model'
    return None


def check_resumable(folder: str, world_size: int) -> None:
    """ValueError unless a checkpoint holds all that an exact continuation needs.

    A warning if it was written by another number of processes: the run goes on, but not as it would have.
    """
    needed = (TRAINER_STATE_NAME, 'optimizer.pt', 'scheduler.pt')
    missing = [name for name in needed if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise ValueError(
            f'a run cannot continue from {folder}: {", ".join(missing)} missing. It was written with '
            'save_only_model; name another checkpoint, or start afresh'
        )
    written = len(list(Path(folder).glob('rng_state*.pth')))
    if written != world_size:
        logger.warning(
            '%s was written by %d processes, this run has %d: it cannot be exact', folder, written, world_size
        )


def has_model(folder: str) -> bool:
    """Whether the final model of a run is there."""
    return any(Path(folder, name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))


# ---- a run's beginning and end ----


def is_unfinished(output_dir: str) -> bool:
    """Whether a run in `output_dir` was cut off before its final model was there."""
    return Path(output_dir, UNFINISHED).is_dir()


def begin_run(output_dir: str, afresh: bool = False) -> None:
    """Mark the run as going on and remove what one that was cut off left half written. One rank only.

    `afresh` removes the checkpoints of an earlier run too: they would count as later steps of this one.
    """
    folder = Path(output_dir, UNFINISHED)
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself stays: without it, a run that is cut off here would look like one that ended.
    for left_over in folder.iterdir():
        shutil.rmtree(left_over)
    for path in checkpoints(output_dir) if afresh else ():
        remove_checkpoint(path)


def end_run(output_dir: str) -> None:
    """The final model is in its place. One rank only."""
    shutil.rmtree(Path(output_dir, UNFINISHED))


# ---- one checkpoint, one model ----


def checkpoints(output_dir: str) -> list[Path]:
    """Folders `checkpoint-N` of `output_dir`, by step."""
    folder = Path(output_dir)
    found = folder.iterdir() if folder.is_dir() else ()
    steps = {path: re.fullmatch(rf'{PREFIX_CHECKPOINT_DIR}-(\d+)', path.name) for path in found if path.is_dir()}
    return sorted((path for path, match in steps.items() if match), key=lambda path: int(path.name.split('-')[1]))


def publish(part: Path, final: Path) -> None:
    """Write the manifest of a checkpoint and give it its name, in place of one of the same name."""
    write_manifest(part)
    if final.is_dir():
        remove_checkpoint(final)
    os.rename(part, final)
    flush(final.parent)


def remove_checkpoint(path: Path) -> None:
    """Take the name away first, then the files."""
    gone = path.parent / UNFINISHED / f'removed-{path.name}'
    os.rename(path, gone)
    shutil.rmtree(gone)


def remove_oldest(output_dir: str, limit: int | None, keep: Iterable[Path]) -> None:
    """Remove checkpoints, by step, until `limit` are left (None or 0: no limit); never those of `keep`."""
    kept = {path.resolve() for path in keep}
    found = checkpoints(output_dir)
    others = [path for path in found if path.resolve() not in kept]
    excess = max(0, len(found) - limit) if limit else 0
    for path in others[:excess]:
        remove_checkpoint(path)


def move_model(part: Path, folder: Path) -> None:
    """Move the files of a saved model from `part` to `folder`, the weights last and from one model only.

    Whoever reads `folder` meanwhile finds the weights that were there, none or the new ones.
    """
    for old in folder.glob('model*.safetensors*'):
        if not (old.name == SAFE_WEIGHTS_NAME and (part / SAFE_WEIGHTS_NAME).is_file()):
            old.unlink()
    for path in sorted(part.iterdir(), key=lambda path: (path.suffix == '.safetensors', path.name)):
        if path.name != SAFE_WEIGHTS_INDEX_NAME:
            move(path, folder / path.name)
    if (part / SAFE_WEIGHTS_INDEX_NAME).is_file():
        move(part / SAFE_WEIGHTS_INDEX_NAME, folder / SAFE_WEIGHTS_INDEX_NAME)
    part.rmdir()
    flush(folder)


def move(path: Path, target: Path) -> None:
    """Rename over a file or, as DeepSpeed writes some, a folder."""
    if path.is_dir() and target.is_dir():
        shutil.rmtree(target)
    elif path.is_file():
        flush(path)
    os.replace(path, target)
