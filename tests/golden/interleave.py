"""Cases of the views: configs -> the order of indices through the concatenation of all sources."""

from __future__ import annotations

import hashlib
from typing import Any

from mllm.dataset.source import ItemSource
from mllm.dataset.views import ConcatDataset, ConcatDatasetWithShuffle, InterleaveDataset, SubSet
from mllm.types import RawItem
from mllm.utils.rng import ItemRng
from tests.golden.compare import Case

FIRST, LAST = 120, 40
"""Of long sequences only so many indices at either end are recorded."""


class Numbers(ItemSource):
    """Items that say where they stand in the concatenation of all sources."""

    def __init__(self, start: int, length: int) -> None:
        self.start, self.length = start, length

    def __len__(self) -> int:
        return self.length

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        return {'conversations': [], 'meta': {'number': self.start + index}}


def sources(lengths: list[int]) -> list[Numbers]:
    return [Numbers(sum(lengths[:number]), length) for number, length in enumerate(lengths)]


def numbers(view: Any) -> list[int]:
    return [view[index]['meta']['number'] for index in range(len(view))]


def sequence(view: Any) -> dict[str, Any]:
    indices = numbers(view)
    digest = hashlib.sha256(','.join(map(str, indices)).encode()).hexdigest()
    ends = {'first': indices[:FIRST], 'last': indices[-LAST:]}
    return {'length': len(indices), 'sha256': digest, 'indices': indices, **ends}


def interleave(case: Case) -> dict[str, Any]:
    config = dict(case['config'])
    return sequence(InterleaveDataset(sources(config.pop('lengths')), **config))


def subset(case: Case) -> dict[str, Any]:
    config = dict(case['config'])
    return sequence(SubSet(Numbers(0, config.pop('length')), **config))


def concat(case: Case) -> dict[str, Any]:
    view = ConcatDataset(sources(case['config']['lengths']))
    return {'length': len(view), 'items': numbers(view), 'last_by_negative_index': view[-1].get('meta', {})['number']}


def concat_shuffle(case: Case) -> dict[str, Any]:
    config = dict(case['config'])
    return sequence(ConcatDatasetWithShuffle(sources(config.pop('lengths')), **config))


RUNNERS = {'interleave': interleave, 'subset': subset, 'concat': concat, 'concat_shuffle': concat_shuffle}
