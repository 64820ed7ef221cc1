"""The order of training samples, between stages 7 and 8 of a sample's way: -> (epoch, index) pairs.

The pair carries the epoch to the dataset: workers that persist never see `dataset.set_epoch`, and accelerate calls it
with one process but not with two.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from mllm.utils.rng import item_rng


class EpochSampler(Sampler[tuple[int, int]]):
    """Pairs (epoch, index) for `length` samples, in an order that depends on seed and epoch alone."""

    def __init__(self, length: int, seed: int, shuffle: bool, epoch: int = 0) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration; one under way is not disturbed."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = range(self.length)
        if self.shuffle:
            order = item_rng(self.seed, epoch, 0, 'order').permutation(self.length).tolist()
        for index in order:
            yield epoch, index
