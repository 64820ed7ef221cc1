"""Stage 9 of a sample's way, when learning: `Batch` -> loss, through the model's own forward.

    labels[B, L] -> columns[U]     positions whose next token is supervised in some row
    model(..., logits_to_keep=columns) -> logits[B, U, V]
    cross entropy, summed over the supervised entries of [B, U] -> / number of supervised tokens

The model's `forward` must be the one that is called: inner modules called by hand leave gradients unsynchronised
under DDP. Only positions that are learnt from are ever projected to the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mllm.types import IGNORE_INDEX


def supervised_columns(labels: Tensor) -> Tensor:
    """Positions [U], ascending, whose next token is supervised in at least one row of `labels` [B, L]."""
    return (labels[:, 1:] != IGNORE_INDEX).any(dim=0).nonzero().squeeze(1)


def count_supervised(labels: Tensor) -> Tensor:
    """How many tokens of `labels` [B, L] are learnt, as a scalar tensor; nothing predicts the first column."""
    return (labels[:, 1:] != IGNORE_INDEX).sum()


def step_counts(batches: Sequence[Mapping[str, Tensor]], device: torch.device) -> Tensor:
    """[supervised tokens, tokens without padding, samples] of some batches, int64 on `device`."""
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for batch in batches:
        counts[0] += count_supervised(batch['labels'])
        counts[1] += batch['attention_mask'].sum()
        counts[2] += len(batch['labels'])
    return counts


def supervised_loss(
    model: Any, batch: Mapping[str, Tensor], num_items: Tensor | int | None = None, label_smoothing: float = 0.0
) -> tuple[Tensor, Any]:
    """Cross entropy in nats summed over the batch's supervised tokens, divided by `num_items`; and the model's outputs.

    `num_items` is the number of supervised tokens of the whole optimiser step (all ranks, all accumulation steps);
    None means this batch's own. A batch without supervised tokens gives 0, with gradients of 0.
    """
    labels = batch['labels']
    columns = supervised_columns(labels)
    inputs = {key: value for key, value in batch.items() if key != 'labels'}
    outputs = model(**inputs, logits_to_keep=columns, use_cache=False)
    targets = labels[:, columns + 1]
    learnt = targets != IGNORE_INDEX
    total = functional.cross_entropy(
        outputs.logits[learnt].float(), targets[learnt], reduction='sum', label_smoothing=label_smoothing
    )
    items = torch.as_tensor(count_supervised(labels) if num_items is None else num_items, device=total.device)
    return total / items.clamp(min=1), outputs
