"""Stages 2 and 3 of a sample's way for link-context learning: a bank and a policy -> numbered episodes.

Used for training (episodes drawn anew in every epoch) and evaluation (a function of the index alone) alike. The metric
is `mllm.metric.link_context`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from PIL import Image

from mllm.dataset.single_image_dataset.class_bank import ClassBank, IsekaiBank
from mllm.dataset.source import Source
from mllm.registry import DATASETS, POLICIES, nearest
from mllm.types import Episode, RawItem, Turn
from mllm.utils.rng import ItemRng

Shot = int | Mapping[str, Any]
Control = Literal['blank_supports', 'permute_labels'] | None

SHOT_KEYS = {'uniform': {'low', 'high'}, 'weighted': {'low', 'high', 'rate'}}


class BankDataset(Source):
    """Episodes that a policy draws from a bank: `episodes_per_class` rounds over its rows.

    policy    dict(type='link_context', ...): a name in POLICIES and its parameters
    shot      supports per class: a number, or a distribution as for `draw_shot`
    control   'blank_supports' shows white images in place of the supports; 'permute_labels' gives the supports of every
              class the label of another one and asks for the new label. Both keep everything else of the episode
    """

    def __init__(
        self,
        bank: ClassBank | IsekaiBank,
        policy: Mapping[str, Any],
        shot: Shot,
        control: Control = None,
        episodes_per_class: int = 1,
    ) -> None:
        if control not in (None, 'blank_supports', 'permute_labels'):
            raise ValueError(f"control={control!r}: expected None, 'blank_supports' or 'permute_labels'")
        if episodes_per_class < 1:
            raise ValueError(f'episodes_per_class={episodes_per_class}: expected at least 1')
        self.most_shots = shot_range(shot)[1]
        self.bank = bank
        self.policy = build_policy(policy)
        self.shot = shot
        self.control: Control = control
        self.episodes_per_class = episodes_per_class

    def __len__(self) -> int:
        return len(self.bank) * self.episodes_per_class

    def episode(self, index: int, rng: ItemRng) -> Episode:
        episode = self.policy(self.bank, index % len(self.bank), draw_shot(self.shot, rng), rng)
        return apply_control(episode, self.control)

    def describe(self, index: int) -> str:
        return self.bank.where(index % len(self.bank))

    def problems(self) -> Iterator[str]:
        """Too few or missing images, and parameters that the policy refuses (found by drawing the first episode)."""
        found = False
        for problem in self.bank.problems(self.most_shots):
            found = True
            yield problem
        if not found and len(self):
            try:
                self.episode(0, ItemRng(0, 0, 0))
            except (ValueError, FileNotFoundError) as error:
                yield f'{self.describe(0)}: the first episode cannot be drawn: {error}'


@DATASETS.register_module()
class LinkContextDataset(BankDataset):
    """Episodes from the classes of a pair file, see `ClassBank` and `policies.link_context`."""

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        policy: Mapping[str, Any],
        shot: Shot,
        distinct_groups: bool = False,
        episodes_per_class: int = 1,
        control: Control = None,
    ) -> None:
        super().__init__(ClassBank(filename, image_folder, distinct_groups), policy, shot, control, episodes_per_class)


@DATASETS.register_module()
class ISEKAIEval2Way(BankDataset):
    """The queries of an ISEKAI file with their fixed supports, see `IsekaiBank` and `policies.isekai`."""

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        shot: Shot,
        policy: Mapping[str, Any] | None = None,
        control: Control = None,
    ) -> None:
        super().__init__(IsekaiBank(filename, image_folder), policy or {'type': 'isekai'}, shot, control)


def build_policy(cfg: Mapping[str, Any]) -> Callable[[Any, int, int, ItemRng], Episode]:
    """The policy named by `cfg['type']` with its parameters; ValueError for a parameter it does not have."""
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ValueError(f"policy={cfg!r}: expected a dict with type='...'{nearest('', POLICIES.names())}")
    function = POLICIES.get(cfg['type'])
    parameters = {key: value for key, value in cfg.items() if key != 'type'}
    signature = inspect.signature(function).parameters
    known = list(signature)[4:]
    unknown = [key for key in parameters if key not in known]
    if unknown and not any(item.kind is item.VAR_KEYWORD for item in signature.values()):
        hints = '; '.join(f'no parameter {key!r}{nearest(key, known)}' for key in unknown)
        raise ValueError(f'policy {cfg["type"]!r} has {hints}')
    return functools.partial(function, **parameters)


def shot_range(shot: Shot) -> tuple[int, int]:
    """Fewest and most supports per class; ValueError unless `shot` is as for `draw_shot`."""
    if isinstance(shot, Mapping):
        keys = {'type', *SHOT_KEYS.get(shot.get('type', ''), ())}
        numbers = set(shot) == keys and all(isinstance(shot[key], (int, float)) for key in keys - {'type'})
        if not numbers or len(keys) == 1 or not 1 <= shot['low'] <= shot['high']:
            raise ValueError(
                f"shot={dict(shot)!r}: expected a number, dict(type='uniform', low=.., high=..) or "
                "dict(type='weighted', low=.., high=.., rate=..) with 1 <= low <= high"
            )
        return int(shot['low']), int(shot['high'])
    if isinstance(shot, bool) or not isinstance(shot, int) or shot < 1:
        raise ValueError(f'shot={shot!r}: expected at least 1 support per class')
    return shot, shot


def draw_shot(shot: Shot, rng: ItemRng) -> int:
    """The number of supports per class of one episode.

    A number is fixed; 'uniform' draws from low..high; 'weighted' draws s with weight e^(rate * s).
    """
    low, high = shot_range(shot)
    rate = shot['rate'] if isinstance(shot, Mapping) and shot['type'] == 'weighted' else 0.0
    # Relative to the largest, so that no rate overflows.
    largest = max(rate * low, rate * high)
    weights = [math.exp(rate * number - largest) for number in range(low, high + 1)]
    return low + int(rng('shot').choice(len(weights), p=[weight / sum(weights) for weight in weights]))


def apply_control(episode: Episode, control: Control) -> Episode:
    """The episode under a control; see `BankDataset`."""
    if control == 'blank_supports':
        return replace(episode, support=tuple(blanked(item) for item in episode.support))
    if control == 'permute_labels':
        labels = episode.meta['labels']
        return relabelled(episode, dict(zip(labels, [*labels[1:], labels[0]], strict=True)))
    return episode


def blanked(item: RawItem) -> RawItem:
    """The item with a white image of the same size."""
    image = item.get('image')
    return item if image is None else {**item, 'image': Image.new('RGB', image.size, 'white')}


def relabelled(episode: Episode, new_labels: Mapping[str, str]) -> Episode:
    """The episode with every label replaced, in answers and meta; `meta['original_label']` is the query's old one."""

    def change(item: RawItem) -> RawItem:
        meta = item.get('meta') or {}
        *turns, answer = item.get('conversations', [])
        quoted = f'"{meta["label"]}"'
        if quoted not in answer['value']:
            raise ValueError(f'the answer {answer["value"]!r} does not quote its label {quoted}; it cannot be permuted')
        new = new_labels[meta['label']]
        value = answer['value'].replace(quoted, f'"{new}"')
        return {**item, 'conversations': [*turns, Turn({**answer, 'value': value})], 'meta': {**meta, 'label': new}}

    old = episode.meta['label']
    support = [{**entry, 'label': new_labels[entry['label']]} for entry in episode.meta['support']]
    return Episode(
        query=change(episode.query),
        support=tuple(map(change, episode.support)),
        earlier_queries=tuple(map(change, episode.earlier_queries)),
        meta={**episode.meta, 'label': new_labels[old], 'original_label': old, 'support': support},
    )
