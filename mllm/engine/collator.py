"""Stage 8 of a sample's way: samples -> `Batch`, padded on the right to learn and on the left to generate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from mllm.types import IGNORE_INDEX, Batch, Preprocessor, Sample, Skipped
from mllm.utils.faults import BadSampleError


@dataclass(frozen=True)
class Collator:
    """A list of samples -> `Batch` of B rows, L = the longest one.

    input_ids       [B, L] int64, padded with the tokenizer's pad id
    attention_mask  [B, L] int64, 1 on tokens, 0 on padding
    labels          [B, L] int64, -100 on padding (training)
    samples         the samples themselves (evaluation)
    skipped         why samples were left out, one reason each (only where some were)
    bad             what `Caught` returned for samples that end the run; then there is nothing else
    and the tensors of `Preprocessor.collate_images`, and those of `Preprocessor.token_inputs` [B, L], 0 on padding

    `Skipped` and None entries are left out. ValueError names the sample whose images and image tokens, or labels
    and tokens, do not agree: the model sees only the batch's total and would swap images between rows.
    """

    preprocessor: Preprocessor
    padding_side: Literal['left', 'right']
    training: bool

    def __post_init__(self) -> None:
        if self.padding_side not in ('left', 'right'):
            raise ValueError(f"padding_side is {self.padding_side!r}; write 'left' or 'right'")
        if self.preprocessor.tokenizer.pad_token_id is None:
            raise ValueError('the tokenizer has no pad token, so samples cannot be batched; give it one (pad_token)')

    def __call__(self, items: Sequence[Sample | Skipped | BadSampleError | None]) -> Batch:
        bad = [item for item in items if isinstance(item, BadSampleError)]
        if bad:
            return {'bad': bad}
        samples = [item for item in items if isinstance(item, Sample)]
        if not samples:
            raise ValueError(f'no sample of the batch is left: {reasons(items)}')
        faults = [fault for sample in samples for fault in self.faults(sample)]
        if faults:
            raise ValueError('\n'.join(faults))
        pad_id = cast(int, self.preprocessor.tokenizer.pad_token_id)
        batch: Batch = {
            'input_ids': self.pad([sample.input_ids for sample in samples], pad_id),
            'attention_mask': self.pad([[1] * len(sample.input_ids) for sample in samples], 0),
        }
        if self.preprocessor.token_inputs is not None:
            rows = [self.preprocessor.token_inputs(sample.input_ids) for sample in samples]
            batch |= {name: self.pad([row[name] for row in rows], 0) for name in rows[0]}
        if self.training:
            batch['labels'] = self.pad([sample.labels for sample in samples], IGNORE_INDEX)
        else:
            batch['samples'] = samples
        batch |= self.preprocessor.collate_images([sample.images for sample in samples])
        if skipped := reasons(items):
            batch['skipped'] = skipped
        return batch

    def pad(self, rows: Sequence[Sequence[int]], value: int) -> Tensor:
        """Rows of ids -> [B, L] int64, filled up with `value`."""
        padded = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.int64)
        for target, row in zip(padded, rows, strict=True):
            start = len(target) - len(row) if self.padding_side == 'left' else 0
            target[start : start + len(row)] = torch.tensor(row, dtype=torch.int64)
        return padded

    def faults(self, sample: Sample) -> list[str]:
        """What is wrong with a sample, one line each."""
        faults = []
        if self.training and len(sample.labels) != len(sample.input_ids):
            faults.append(f'sample {sample.index}: {len(sample.labels)} labels for {len(sample.input_ids)} tokens')
        images = 0 if sample.images is None else len(sample.images)
        tokens = sample.input_ids.count(self.preprocessor.image_token_id)
        if (images, tokens) != (len(sample.image_tokens), sum(sample.image_tokens)):
            faults.append(
                f'sample {sample.index}: {images} images and {tokens} image tokens, but the prompt is made for '
                f'{len(sample.image_tokens)} images of {list(sample.image_tokens)} tokens'
            )
        return faults


def reasons(items: Sequence[Any]) -> list[str]:
    """Why samples were left out: those of the batch, and those that a sample has taken the place of."""
    found: list[str] = []
    for item in items:
        if isinstance(item, Skipped):
            found.append(item.reason)
        elif isinstance(item, Sample):
            found += item.meta.get('skipped', [])
    return found
