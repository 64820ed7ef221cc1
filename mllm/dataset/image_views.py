"""Stage 3 of a sample's way, views that look at images: turns on one image joined, and images taken away.

JoinTurns     the items on one image as the turns of one conversation
BlankImages   the same items with white images: what can be answered without seeing anything
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mllm.dataset.single_image_dataset.controls import blanked
from mllm.dataset.views import SourceConfig, View
from mllm.registry import DATASETS
from mllm.types import IMAGE_PLACEHOLDER, Episode, RawItem, Target, Turn
from mllm.utils.rng import ItemRng


@DATASETS.register_module()
class JoinTurns(View):
    """One item for each image of a dataset: up to `turns` of the items on it, drawn at random, one after the other.

    For training: the image is encoded once for all of its questions. Items have one image and no supports, and their
    questions begin or end with <image>, which only the first keeps.
    """

    def __init__(self, cfg: SourceConfig, turns: int) -> None:
        super().__init__([cfg], 'JoinTurns')
        if turns < 1:
            raise ValueError(f'JoinTurns: turns={turns}, expected 1 or more')
        self.turns = turns
        groups: dict[object, list[int]] = {}
        for index in range(len(self.sources[0])):
            key = self.sources[0].image_key(index)
            # Items without image share nothing: each stands alone.
            groups.setdefault(index if key is None else key, []).append(index)
        self.groups = list(groups.values())
        self.indices = [group[0] for group in self.groups]

    def episode(self, index: int, rng: ItemRng) -> Episode:
        group = self.groups[index]
        chosen = rng('join').permutation(len(group))[: self.turns].tolist()
        episodes = [self.sources[0].episode(group[n], rng.within(f'turn {k}')) for k, n in enumerate(chosen)]
        if any(episode.support or episode.earlier_queries for episode in episodes):
            raise ValueError('JoinTurns: its items have supports; join the items first, then show supports')
        return Episode(join_items([episode.query for episode in episodes]))

    def answer(self, index: int) -> str:
        return self[index]['conversations'][-1]['value']


def join_items(items: Sequence[RawItem]) -> RawItem:
    """One conversation of all turns of items on one image; `meta` is that of the last, whose answer is the last.

    ValueError for items of several images, and for a question with text on both sides of its <image>.
    """
    target: dict[str, list[Any]] = {'boxes': [], 'points': []}
    turns: list[Turn] = []
    for number, item in enumerate(items):
        places: Any = item.get('target') or {}
        if isinstance(item.get('image'), list | tuple) or isinstance(places, list | tuple):
            raise ValueError('JoinTurns: an item with several images cannot be joined with others')
        starts = {kind: len(entries) for kind, entries in target.items()}
        for kind, entries in target.items():
            entries += places.get(kind, [])
        moved = [moved_turn(turn, starts) for turn in item['conversations']]
        turns += [without_image(turn) for turn in moved] if number else moved
    return {**items[-1], 'target': Target(**target), 'conversations': turns}


def moved_turn(turn: Turn, starts: dict[str, int]) -> Turn:
    """The turn with its boxes and points counted from where those of its item begin."""
    sequences = {
        f'{kind}_seq': [[start + number for number in group] for group in turn.get(f'{kind}_seq') or []]
        for kind, start in starts.items()
    }
    return Turn({**turn, **sequences})  # type: ignore[typeddict-item]


def without_image(turn: Turn) -> Turn:
    """The turn without its <image> and the blanks around it."""
    before, found, after = turn['value'].partition(IMAGE_PLACEHOLDER)
    if found and before.strip() and after.strip():
        raise ValueError(
            f'JoinTurns: {turn["value"]!r} has words on both sides of {IMAGE_PLACEHOLDER}; a question that may come '
            'later in a conversation begins or ends with it'
        )
    return Turn({**turn, 'value': before.rstrip() + after.lstrip() if found else turn['value']})


@DATASETS.register_module()
class BlankImages(View):
    """The items of one dataset with a white image of the same size in place of each."""

    def __init__(self, cfg: SourceConfig) -> None:
        super().__init__([cfg], 'BlankImages')

    def episode(self, index: int, rng: ItemRng) -> Episode:
        episode = super().episode(index, rng)
        support, earlier = (tuple(map(blanked, items)) for items in (episode.support, episode.earlier_queries))
        return replace(episode, query=blanked(episode.query), support=support, earlier_queries=earlier)
