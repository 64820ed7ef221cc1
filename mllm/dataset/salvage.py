"""Stage 2 of a sample's way for data with faults: all of a dataset that can be opened, where a run would stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mllm.dataset.builder import EMPTY
from mllm.dataset.source import DataError, ImageFile, Source
from mllm.dataset.views import ConcatDataset
from mllm.registry import DATASETS
from mllm.utils.faults import lines_of

Listing = Callable[[], Iterator[ImageFile]]


@dataclass
class Opened:
    """What could be opened of a dataset's config: a source, the image files it lists, and faults, one line each."""

    source: Source | None
    faults: list[str]
    listings: list[Listing]


def open_source(cfg: Mapping[str, Any]) -> Opened:
    """A source, or where that fails what there is of it: the datasets in a mixture, the images of sound lines."""
    try:
        source = DATASETS.build(cfg)
        return Opened(source, known_faults(source), [source.images])
    except Exception as error:  # a dataset of the user's may raise anything
        inner = [cfg['cfg']] if 'cfg' in cfg else cfg.get('cfgs', [])
        members = [open_source(member) for member in inner]
        sources = [member.source for member in members if member.source is not None]
        return Opened(
            ConcatDataset(sources) if sources else None,
            # The error of a mixture repeats those of its members, if there are any.
            [fault for member in members for fault in member.faults] or lines_of(error),
            [listing for member in members for listing in member.listings]
            + ([error.images] if isinstance(error, DataError) else []),
        )


def known_faults(source: Source) -> list[str]:
    """What a source says about itself."""
    try:
        return [*source.problems(), *([] if len(source) else [EMPTY])]
    except Exception as error:  # a dataset of the user's may raise anything
        return lines_of(error)
