"""Stages 1 to 7 of a sample's way, looked at from outside: what an image or a sample is like, without its pixels.

Worker processes measure; what they send back is small and the same whatever their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.types import images_of
from mllm.utils.faults import lines_of
from mllm.utils.image_io import ImageError, load_image
from mllm.utils.rng import ItemRng

Size = tuple[int, int]
"""Width, height in pixels."""


@dataclass(frozen=True)
class Measured:
    """An image file, or a sample as drawn in epoch 0.

    sizes         of all images
    shown         images that are left in the prompt
    tokens        of the prompt with the answer
    dropped       supports that were left out to make it fit
    clipped       boxes and points that stuck out of their image
    fault         why there is no such image or sample; '' if all is well
    image_fault   whether that is the fault of an image file
    """

    sizes: tuple[Size, ...] = ()
    shown: int = 0
    tokens: int = 0
    dropped: int = 0
    clipped: int = 0
    fault: str = ''
    image_fault: bool = False


def measure_image(path: str, folder: str | None) -> Measured:
    """Reads an image file to its last pixel."""
    try:
        return Measured((load_image(path, folder).size,), shown=1)
    except ImageError as error:
        return Measured(fault=str(error), image_fault=True)


def measure_sample(dataset: SingleImageConvDataset, index: int) -> Measured:
    """Encodes a sample of epoch 0, as a run does."""
    rng = ItemRng(dataset.seed, 0, index)
    try:
        episode = dataset.source.episode(index, rng)
        sample = dataset.encoder(episode, index, rng)
    except ImageError as error:
        # Without the line that names the image: its file is told of once.
        file_error = error.__cause__ if isinstance(error.__cause__, ImageError) else error
        return Measured(fault=str(file_error), image_fault=True)
    except Exception as error:  # a dataset of the user's may raise anything, and the others are to be read too
        return Measured(fault='; '.join(lines_of(error)))
    dropped = sample.meta.get('dropped_supports', 0)
    images = [images_of(item) for item in episode.items]
    return Measured(
        sizes=tuple(image.size for shown in images for image in shown),
        shown=sum(map(len, images[dropped:])),
        tokens=len(sample.input_ids) + len(sample.answers.get(sample.target, ())),
        dropped=dropped,
        clipped=sample.meta.get('clipped', 0),
    )


class Measurements(Dataset):
    """First image files, then the samples of datasets, numbered through; `starts` are the numbers of first samples."""

    def __init__(self, images: Sequence[tuple[str, str | None]], datasets: Sequence[SingleImageConvDataset]) -> None:
        self.images = images
        self.datasets = datasets
        self.starts = np.cumsum([len(images), *map(len, datasets)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def locate(self, number: int) -> tuple[int, int]:
        """(dataset, index) of a sample; (-1, number) of an image."""
        dataset = int(np.searchsorted(self.starts, number, side='right')) - 1
        return dataset, number - (int(self.starts[dataset]) if dataset >= 0 else 0)

    def __getitem__(self, number: int) -> Measured:
        dataset, index = self.locate(number)
        return measure_image(*self.images[index]) if dataset < 0 else measure_sample(self.datasets[dataset], index)
