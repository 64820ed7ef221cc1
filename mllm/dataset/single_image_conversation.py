"""Stages 2 to 7 of a sample's way behind one index: `SingleImageConvDataset` = a source of episodes + the encoder."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal

from torch.utils.data import Dataset

from mllm.dataset.encoder import EpisodeEncoder
from mllm.dataset.source import Source
from mllm.types import Episode, Preprocessor, Sample, Skipped
from mllm.utils.faults import BadSampleError, lines_of
from mllm.utils.image_io import reduced_decoding
from mllm.utils.rng import ItemRng

BAD = (ValueError, OSError, LookupError, TypeError, AttributeError)
"""What the code of a dataset, which may be a user's, raises about an annotation that is not as it expects."""
MAX_SUBSTITUTES = 100
"""So many samples in a row may be bad before training stops all the same."""


class SingleImageConvDataset(Dataset):
    """What a data loader reads: (epoch, index) -> `Sample`.

    A sample is a pure function of (seed, epoch, index): the same on every worker and rank and after resumption.
    Evaluation passes a plain index, which means epoch 0. A sample that cannot be made is a BadSampleError that says
    where it comes from, or, with `on_bad_sample='skip'`, a `Skipped` in evaluation; in training the next good
    sample takes its place (batches stay full and ranks in step) and lists what was skipped in `meta['skipped']`.
    """

    def __init__(
        self,
        source: Source,
        preprocessor: Preprocessor,
        training: bool,
        seed: int = 0,
        augment: Callable[..., Any] | None = None,
        on_bad_sample: Literal['raise', 'skip'] = 'raise',
        decode_side: int | None = None,
    ) -> None:
        self.source = source
        self.encoder = EpisodeEncoder(preprocessor, training, augment)
        self.training = training
        self.seed = seed
        self.on_bad_sample = on_bad_sample
        self.decode_side = decode_side
        if decode_side is not None and decode_side < 1:
            raise ValueError(f'decode_side={decode_side}: expected the pixels of the longer side that a model looks at')

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample | Skipped:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f'index {index} is outside a dataset of {len(self)} samples')
        if self.on_bad_sample == 'raise':
            return self.encode(epoch, index)
        return self.encode_or_substitute(epoch, index) if self.training else self.encode_or_skip(epoch, index)

    def draw(self, epoch: int, index: int) -> Episode:
        """The episode, or a BadSampleError that says where it comes from."""
        with self.placing_faults(index), reduced_decoding(self.decode_side):
            return self.source.episode(index, ItemRng(self.seed, epoch, index))

    def encode(self, epoch: int, index: int) -> Sample:
        """The sample, or a BadSampleError that says where it comes from."""
        episode = self.draw(epoch, index)
        with self.placing_faults(index):
            return self.encoder(episode, index, ItemRng(self.seed, epoch, index))

    @contextmanager
    def placing_faults(self, index: int) -> Generator[None]:
        """What the block finds wrong with a sample becomes a BadSampleError that says where the sample comes from."""
        try:
            yield
        except BAD as error:
            where = f'{self.source.describe(index)} (sample {index})'
            raise BadSampleError('\n'.join(f'{where}: {line}' for line in lines_of(error))) from error

    def encode_or_skip(self, epoch: int, index: int) -> Sample | Skipped:
        try:
            return self.encode(epoch, index)
        except BadSampleError as error:
            return Skipped(index, str(error))

    def encode_or_substitute(self, epoch: int, index: int) -> Sample:
        skipped: list[str] = []
        for step in range(min(MAX_SUBSTITUTES, len(self))):
            sample = self.encode_or_skip(epoch, (index + step) % len(self))
            if isinstance(sample, Sample):
                if skipped:
                    sample.meta['skipped'] = skipped
                return sample
            skipped.append(sample.reason)
        raise BadSampleError(f'{len(skipped)} samples in a row are bad; the first: {skipped[0]}')
