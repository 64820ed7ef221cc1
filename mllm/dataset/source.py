"""What every dataset and view is: a numbered collection of episodes (stages 2 and 3 of a sample's way).

    index, ItemRng -> Episode

A plain dataset implements `get_item` and gets episodes without support; a link-context dataset implements `episode`;
a view only maps indices and hands the rng on. No source keeps state between calls and none owns a generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mllm.types import Episode, RawItem
from mllm.utils.faults import FaultsError
from mllm.utils.rng import ItemRng


class ImageFile(NamedTuple):
    """An image that annotations name: its path in a folder or archive, and the 'file:line' that names it."""

    path: str
    folder: str | None
    where: str


class DataError(FaultsError):
    """The faults of an annotation file. `images` lists what its sound lines name, so that a look at the images need
    not wait for the others to be mended.
    """

    def __init__(self, faults: Sequence[str], images: Callable[[], Iterator[ImageFile]]) -> None:
        super().__init__(faults)
        self.images = images


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

    def probes(self) -> list[int]:
        """Indices whose samples show whether any can be made: one for each dataset that the source is made of."""
        return [0] if len(self) else []

    def images(self) -> Iterator[ImageFile]:
        """The image files that episodes are drawn from, where not every episode shows all of its own; else nothing."""
        return iter(())

    def image_key(self, index: int) -> str | None:
        """What items on the same image share (its path, say), found without reading it; None of items without image."""
        raise ValueError(f'{type(self).__name__} does not tell which items share an image; it needs image_key(index)')

    def answer(self, index: int) -> str:
        """The last answer of an item as its dataset writes it, if possible without reading the image."""
        return self[index]['conversations'][-1]['value']

    def most_shots(self) -> int | None:
        """With how many shots every class still has supports of its own for each; None without supports."""
        return None


class ItemSource(Source):
    """A source of plain items: episodes without support."""

    @abstractmethod
    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        """The item at `index`."""

    def episode(self, index: int, rng: ItemRng) -> Episode:
        return Episode(query=self.get_item(index, rng))
