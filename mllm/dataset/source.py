"""What every dataset and view is: a numbered collection of episodes (stages 2 and 3 of a sample's way).

    index, ItemRng -> Episode

A plain dataset implements `get_item` and gets episodes without support; a link-context dataset implements `episode`;
a view only maps indices and hands the rng on. No source keeps state between calls and none owns a generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from mllm.types import Episode, RawItem
from mllm.utils.rng import ItemRng


class Source(ABC):
    """A numbered collection of episodes. `episode` is a pure function of (index, rng)."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def episode(self, index: int, rng: ItemRng) -> Episode:
        """The episode at `index`; all that is drawn for it comes from `rng`."""

    def __getitem__(self, index: int) -> RawItem:
        """The query of the episode at `index`, as drawn for evaluation (seed 0, epoch 0): for looking at data."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'index {index} is outside {type(self).__name__} with {len(self)} items')
        index %= len(self)
        return self.episode(index, ItemRng(0, 0, index)).query

    def describe(self, index: int) -> str:
        """Where item `index` comes from, for error messages ('file:line' where there is one)."""
        return f'{type(self).__name__}[{index}]'

    def problems(self) -> Iterator[str]:
        """Faults that can be known without touching every item (missing files, classes too small), one line each."""
        return iter(())


class ItemSource(Source):
    """A source of plain items: episodes without support."""

    @abstractmethod
    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        """The item at `index`."""

    def episode(self, index: int, rng: ItemRng) -> Episode:
        return Episode(query=self.get_item(index, rng))
