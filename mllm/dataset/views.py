"""Stage 3 of a sample's way: datasets made of others. A view only maps indices; it leaves episodes and rng alone.

ConcatDataset              one after the other
InterleaveDataset          by probabilities or in turn, until the first or the last source is exhausted
SubSet                     a part of one
ConcatDatasetWithShuffle   one after the other, shuffled once from a seed
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mllm.dataset.source import ImageFile, Source
from mllm.registry import DATASETS
from mllm.types import Episode
from mllm.utils.faults import FaultsError, lines_of
from mllm.utils.rng import ItemRng

SourceConfig = Mapping[str, Any] | Source
StoppingStrategy = Literal['first_exhausted', 'all_exhausted']

STRATEGIES = ('first_exhausted', 'all_exhausted')

BLOCK = 1000
"""So many sources are drawn at a time, as in Hugging Face datasets."""
SUM_TOLERANCE = 1e-8
"""Probabilities may miss 1 by so much, as in numpy."""


class View(Source):
    """Sources in a row, and for each index of the view one of the joint collection."""

    def __init__(self, cfgs: Sequence[SourceConfig], where: str) -> None:
        if not cfgs:
            raise ValueError(f'{where}: there is no dataset in it')
        self.sources = build_sources(cfgs, where)
        self.starts = np.cumsum([0, *(len(source) for source in self.sources)])
        self.indices: Sequence[int] | np.ndarray = range(int(self.starts[-1]))

    def __len__(self) -> int:
        return len(self.indices)

    def locate(self, index: int) -> tuple[Source, int]:
        """The source that an index leads to, and the index in it."""
        position = int(self.indices[index])
        number = int(np.searchsorted(self.starts, position, side='right')) - 1
        return self.sources[number], position - int(self.starts[number])

    def episode(self, index: int, rng: ItemRng) -> Episode:
        source, inner = self.locate(index)
        return source.episode(inner, rng)

    def describe(self, index: int) -> str:
        source, inner = self.locate(index)
        return source.describe(inner)

    def image_key(self, index: int) -> str | None:
        source, inner = self.locate(index)
        return source.image_key(inner)

    def answer(self, index: int) -> str:
        source, inner = self.locate(index)
        return source.answer(inner)

    def problems(self) -> Iterator[str]:
        for source in self.sources:
            yield from source.problems()

    def probes(self) -> list[int]:
        order = np.asarray(self.indices)
        found: set[int] = set()
        for start, stop, source in zip(self.starts, self.starts[1:], self.sources):
            for inner in source.probes():
                places = np.flatnonzero(order == start + inner)
                # The view may leave out this one of the source: then any other of it.
                places = places if len(places) else np.flatnonzero((start <= order) & (order < stop))
                found.update(places[:1].tolist())
        return sorted(found)

    def images(self) -> Iterator[ImageFile]:
        for source in self.sources:
            yield from source.images()

    def most_shots(self) -> int | None:
        return min((shots for source in self.sources if (shots := source.most_shots()) is not None), default=None)


@DATASETS.register_module()
class ConcatDataset(View):
    """All sources, one after the other."""

    def __init__(self, cfgs: Sequence[SourceConfig]) -> None:
        super().__init__(cfgs, 'ConcatDataset')


@DATASETS.register_module()
class ConcatDatasetWithShuffle(View):
    """All sources, shuffled once from `seed`: int(n * portion) of them; a portion above 1 repeats."""

    def __init__(self, cfgs: Sequence[SourceConfig], seed: int = 42, portion: float = 1.0) -> None:
        super().__init__(cfgs, 'ConcatDatasetWithShuffle')
        check_seed(seed)
        if not portion > 0:
            raise ValueError(f'ConcatDatasetWithShuffle: portion={portion}, expected more than 0')
        total = int(self.starts[-1])
        self.indices = shuffled_indices(total, seed, math.ceil(portion))[: int(total * portion)]


@DATASETS.register_module()
class SubSet(View):
    """The first int(n * portion) items of one source, after a shuffle from `seed` if `do_shuffle`."""

    def __init__(self, cfg: SourceConfig, portion: float, do_shuffle: bool = True, seed: int = 42) -> None:
        super().__init__([cfg], 'SubSet')
        if not 0 < portion <= 1:
            raise ValueError(f'SubSet: portion={portion}, expected more than 0 and at most 1')
        check_seed(seed)
        total = int(self.starts[-1])
        order = shuffled_indices(total, seed, 1) if do_shuffle else np.arange(total)
        self.indices = order[: int(total * portion)]


@DATASETS.register_module()
class InterleaveDataset(View):
    """Items of several sources in turn.

    probabilities      of drawing from each source; None: strictly in turn
    stopping_strategy  'first_exhausted': the view ends where a source ends; 'all_exhausted': sources that end start
                       again until every one has ended
    """

    def __init__(
        self,
        cfgs: Sequence[SourceConfig],
        probabilities: Sequence[float] | None = None,
        seed: int = 42,
        stopping_strategy: StoppingStrategy = 'first_exhausted',
    ) -> None:
        super().__init__(cfgs, 'InterleaveDataset')
        check_seed(seed)
        lengths = [len(source) for source in self.sources]
        if stopping_strategy not in STRATEGIES:
            raise ValueError(
                f'InterleaveDataset: stopping_strategy={stopping_strategy!r}, expected one of {STRATEGIES}'
            )
        to_the_last = stopping_strategy == 'all_exhausted'
        if not all(lengths) and (to_the_last or probabilities is not None):
            raise ValueError(f'InterleaveDataset: dataset {lengths.index(0)} is empty')
        if probabilities is None:
            self.indices = in_turn(lengths, to_the_last)
        else:
            check_probabilities(probabilities, len(lengths), to_the_last)
            self.indices = drawn(lengths, probabilities, seed, to_the_last)


DATASETS.register_module('InterleaveDateset')(InterleaveDataset)  # the historical spelling


def build_sources(cfgs: Sequence[SourceConfig], where: str) -> list[Source]:
    """Sources from configs; a source stays as it is. ValueError with a line for each that cannot be built."""
    sources, faults = [], []
    for number, cfg in enumerate(cfgs):
        try:
            sources.append(cfg if isinstance(cfg, Source) else DATASETS.build(cfg))
        except (ValueError, OSError) as error:
            faults += [f'{where}: dataset {number}: {line}' for line in lines_of(error)]
    if faults:
        # Nobody can ask a view that cannot be built, so its other sources are asked here.
        raise FaultsError([*faults, *(problem for source in sources for problem in source.problems())])
    return sources


def check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f'seed={seed!r}: expected a number from 0 on; without one every rank would draw other indices')


def check_probabilities(probabilities: Sequence[float], count: int, to_the_last: bool) -> None:
    faults = []
    if len(probabilities) != count:
        faults.append(f'{len(probabilities)} probabilities for {count} datasets')
    if any(value < 0 for value in probabilities):
        faults.append('probabilities must not be negative')
    if not math.isclose(sum(probabilities), 1, rel_tol=SUM_TOLERANCE):
        faults.append(f'probabilities add up to {sum(probabilities):.9g}, expected 1')
    if to_the_last and 0 in probabilities:
        faults.append("a probability of 0 is never exhausted; use stopping_strategy='first_exhausted' or leave it out")
    if faults:
        raise ValueError('InterleaveDataset: ' + '; '.join(faults))


def shuffled_indices(total: int, seed: int, repeats: int) -> np.ndarray:
    """0..total-1, `repeats` times, shuffled together."""
    indices = np.tile(np.arange(total), repeats)
    np.random.default_rng(seed).shuffle(indices)
    return indices


def in_turn(lengths: Sequence[int], to_the_last: bool) -> np.ndarray:
    """One of each source, round after round, as long as the shortest (or the longest) lasts."""
    starts = np.cumsum([0, *lengths])[:-1]
    rounds = np.arange(max(lengths) if to_the_last else min(lengths))
    return (rounds[:, None] % np.maximum(lengths, 1) + starts).ravel()


def drawn(lengths: Sequence[int], probabilities: Sequence[float], seed: int, to_the_last: bool) -> np.ndarray:
    """Sources drawn by probability, each walked in order and started again where it ends."""
    starts = np.cumsum([0, *lengths])[:-1]
    rng = np.random.default_rng(seed)
    position, ended = [0] * len(lengths), [False] * len(lengths)
    indices: list[int] = []
    while True:
        for number in rng.choice(len(lengths), size=BLOCK, p=probabilities).tolist():
            # Checked before an item is added, so the view ends right after the one that exhausts it.
            if all(ended) if to_the_last else any(ended):
                return np.array(indices)
            indices.append(int(starts[number]) + position[number])
            position[number] += 1
            if position[number] >= lengths[number]:
                ended[number], position[number] = True, 0
