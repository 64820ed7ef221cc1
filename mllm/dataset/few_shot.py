"""Stage 3 of a sample's way: any dataset becomes few-shot. `FewShot` shows items of a pool before each of its items.

    query = dataset[index]; supports = items of the pool, never the query itself nor one on its image

Supports keep their own images, boxes and points. What is drawn depends on (seed, epoch, index) alone, and k supports
are the first of those that more shots would draw.
"""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np

from mllm.dataset.image_features import FeatureConfig, image_features
from mllm.dataset.single_image_dataset.base import choice_faults
from mllm.dataset.single_image_dataset.shots import Shot, draw_shot, shot_range
from mllm.dataset.source import ImageFile, Source
from mllm.dataset.views import SourceConfig, build_sources, check_seed
from mllm.registry import DATASETS
from mllm.types import Episode, RawItem, images_of
from mllm.utils.faults import lines_of, stop_on
from mllm.utils.rng import ItemRng

Select = Literal['random', 'balanced', 'similar', 'fixed']


class Selection(ABC):
    """An order of the pool for each query; supports are the first that may be shown."""

    @abstractmethod
    def order(self, index: int, rng: ItemRng) -> Iterator[int]:
        """All positions of the pool, the one to be shown first in front."""


class RandomSelection(Selection):
    """Another random order for each query."""

    def __init__(self, size: int) -> None:
        self.size = size

    def order(self, index: int, rng: ItemRng) -> Iterator[int]:
        return drawn_order(self.size, rng('supports'))


class FixedSelection(Selection):
    """One random order for all queries, from a seed."""

    def __init__(self, size: int, seed: int) -> None:
        self.positions = np.random.default_rng(seed).permutation(size)

    def order(self, index: int, rng: ItemRng) -> Iterator[int]:
        return map(int, self.positions)


class BalancedSelection(Selection):
    """Answers in turn, in a random order that is another one for each query; items of an answer at random."""

    def __init__(self, pool: Source) -> None:
        by_answer: dict[str, list[int]] = defaultdict(list)
        for position in range(len(pool)):
            by_answer[pool.answer(position)].append(position)
        self.groups = list(by_answer.values())

    def order(self, index: int, rng: ItemRng) -> Iterator[int]:
        generator = rng('supports')
        turns = [iter(generator.permutation(self.groups[n])) for n in generator.permutation(len(self.groups))]
        while turns:
            left = []
            for items in turns:
                if (position := next(items, None)) is not None:
                    left.append(items)
                    yield int(position)
            turns = left


class SimilarSelection(Selection):
    """The items whose images are most like the query's, by the cosine of their features."""

    def __init__(self, dataset: Source, pool: Source, features: FeatureConfig) -> None:
        self.pool = image_features(pool, features)
        self.queries = self.pool if dataset is pool else image_features(dataset, features)

    def order(self, index: int, rng: ItemRng) -> Iterator[int]:
        likeness = self.pool @ self.queries[index]
        return map(int, np.argsort(-likeness, kind='stable'))


def drawn_order(size: int, generator: np.random.Generator) -> Iterator[int]:
    """0..size-1 in random order, without a list of a large pool for the few that are looked at."""
    seen: set[int] = set()
    while 2 * len(seen) < size:
        position = int(generator.integers(size))
        if position not in seen:
            seen.add(position)
            yield position
    rest = np.array([position for position in range(size) if position not in seen])
    yield from map(int, generator.permutation(rest))


@DATASETS.register_module()
class FewShot(Source):
    """Items of `dataset` with items of `pool` as supports.

    dataset    whose items are the queries: any dataset or view of items without supports
    pool       whose items are shown: likewise; None: the dataset itself
    shots      supports of an episode: a number, or a distribution as for `draw_shot`
    select     'random': others for each query; 'fixed': the same for all queries; 'balanced': answers in turn, so that
               each is shown as often as the others; 'similar': the images most like the query's, the most similar last
    seed       of 'fixed'
    features   for 'similar', see `FeatureConfig`: dict(vision_tower='path'[, cache_dir='path', batch_size=32])

    An image counts as the query's if it has its path or its pixels; items without images if question and answer are
    the query's. ValueError if the pool has too few others.
    """

    def __init__(
        self,
        dataset: SourceConfig,
        pool: SourceConfig | None = None,
        shots: Shot = 4,
        select: Select = 'random',
        seed: int = 42,
        features: Mapping[str, Any] | None = None,
    ) -> None:
        check_seed(seed)
        stop_on(choice_faults('select', select, get_args(Select)))
        if (select == 'similar') != (features is not None):
            raise ValueError(
                f"FewShot: select={select!r} with features={features!r}; 'similar' needs "
                "features=dict(vision_tower='path of a model'), the others take none"
            )
        self.highest_shot = shot_range(shots)[1]
        self.shots = shots
        self.select = select
        self.dataset, *others = build_sources([dataset, *([] if pool is None else [pool])], 'FewShot')
        self.pool = others[0] if others else self.dataset
        self.seed = seed
        self.features = FeatureConfig.of(features) if features is not None else None

    @functools.cached_property
    def selection(self) -> Selection:
        if self.select == 'random':
            return RandomSelection(len(self.pool))
        if self.select == 'fixed':
            return FixedSelection(len(self.pool), self.seed)
        if self.select == 'balanced':
            return BalancedSelection(self.pool)
        assert self.features is not None
        return SimilarSelection(self.dataset, self.pool, self.features)

    def __len__(self) -> int:
        return len(self.dataset)

    def episode(self, index: int, rng: ItemRng) -> Episode:
        query = self.item(self.dataset, index, rng)
        shots = draw_shot(self.shots, rng, 'shots')
        chosen = self.choose(index, query, shots, rng)
        if self.select == 'similar':
            chosen.reverse()
        support = tuple(item for _, item in chosen)
        meta = {
            'shot': shots,
            'support': [dict(item.get('meta') or {}) for item in support],
            'support_key': key_of([position for position, _ in chosen]),
        }
        return Episode(query, support, meta=meta)

    def choose(self, index: int, query: RawItem, shots: int, rng: ItemRng) -> list[tuple[int, RawItem]]:
        """Positions in the pool and items of the first that may be shown."""
        chosen: list[tuple[int, RawItem]] = []
        key = self.dataset.image_key(index)
        for position in self.selection.order(index, rng):
            if self.pool is self.dataset and position == index:
                continue
            if key is not None and self.pool.image_key(position) == key:
                continue
            item = self.item(self.pool, position, rng.within(f'support/{position}'))
            if not shows_the_same(item, query):
                chosen.append((position, item))
                if len(chosen) == shots:
                    return chosen
        raise ValueError(
            f'shots={shots}: the pool has only {len(chosen)} items beside this one and others on its image; '
            'lower shots or name a larger pool'
        )

    def item(self, source: Source, index: int, rng: ItemRng) -> RawItem:
        episode = source.episode(index, rng)
        if episode.support or episode.earlier_queries:
            raise ValueError(f'{source.describe(index)} is an episode with supports already; FewShot takes plain items')
        return episode.query

    def describe(self, index: int) -> str:
        return self.dataset.describe(index)

    def image_key(self, index: int) -> str | None:
        return self.dataset.image_key(index)

    def answer(self, index: int) -> str:
        return self.dataset.answer(index)

    def problems(self) -> Iterator[str]:
        faults = [fault for source in dict.fromkeys([self.dataset, self.pool]) for fault in source.problems()]
        if not faults and len(self.pool) - (self.pool is self.dataset) < self.highest_shot:
            faults.append(f'FewShot: shots={self.shots}, but the pool has {len(self.pool)} items')
        yield from faults or self.faults_of_selection()

    def faults_of_selection(self) -> list[str]:
        """Prepares the selection, here so that workers share what it read or computed."""
        try:
            self.dataset.image_key(0)
            self.pool.image_key(0)
            _ = self.selection
        except (ValueError, OSError) as error:
            return lines_of(error)
        return []

    def probes(self) -> list[int]:
        return self.dataset.probes()

    def images(self) -> Iterator[ImageFile]:
        for source in dict.fromkeys([self.dataset, self.pool]):
            yield from source.images()


def shows_the_same(item: RawItem, query: RawItem) -> bool:
    """Whether an item must not be shown to a query: on an image of the same pixels, or, without images, of its text."""
    shown, asked = images_of(item), images_of(query)
    if shown or asked:
        return any(one.size == other.size and one.tobytes() == other.tobytes() for one in shown for other in asked)
    texts = [[turn['value'] for turn in each['conversations']] for each in (item, query)]
    return texts[0] == texts[1]


def key_of(positions: list[int]) -> str:
    """A name of a support set, the same in every order."""
    return hashlib.blake2b(repr(sorted(positions)).encode(), digest_size=8).hexdigest()
