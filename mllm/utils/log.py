"""The one logger of the package and the one console; entry scripts set them up, modules only ask for them."""

from __future__ import annotations

import functools
import logging
import sys

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ROOT = 'mllm'


def get_logger(name: str) -> logging.Logger:
    """A logger below the package's own: `get_logger(__name__)`."""
    return logging.getLogger(name if name.split('.')[0] == ROOT else f'{ROOT}.{name}')


@functools.cache
def console() -> Console:
    """Where tables go: standard output."""
    # A table in a log file should not be cut to the 80 columns that rich assumes there.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def progress_bar(show: bool = True) -> Progress:
    """A bar with counts and the time that remains, on standard error, gone at the end; nothing without a terminal."""
    columns = (TextColumn('{task.description:>28}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not show or not sys.stderr.isatty(), transient=True)


def setup_logging(rank: int = 0) -> None:
    """Messages go to standard error, once; ranks other than 0 say only what is wrong."""
    logger = logging.getLogger(ROOT)
    logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    logger.propagate = False
    if logger.handlers:
        return
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=Console(stderr=True), show_path=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f'%(asctime)s %(levelname)s [rank {rank}] %(message)s', '%H:%M:%S'))
    logger.addHandler(handler)
