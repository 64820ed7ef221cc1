"""Stage 9 of a sample's way, before training: tokens a tokenizer must know, and rows for them in the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> None:
    """Add what is not there yet, each as one special token; a tokenizer without pad token pads with <unk> or </s>."""
    known = tokenizer.get_vocab()
    new = [token for token in tokens if token not in known]
    if new:
        tokenizer.add_special_tokens({'additional_special_tokens': new}, replace_extra_special_tokens=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token


def fit_embeddings(model: PreTrainedModel, vocab_size: int) -> None:
    """Grow the embeddings (and the head) to `vocab_size` rows; new rows are the mean of the old ones.

    Models whose embeddings have more rows than their tokenizer has tokens keep them.
    """
    embeddings: Any = model.get_input_embeddings()
    old = embeddings.weight.shape[0]
    if vocab_size <= old:
        return
    model.resize_token_embeddings(vocab_size, mean_resizing=False)
    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    with torch.no_grad():
        for layer in layers:
            layer.weight[old:] = layer.weight[:old].mean(dim=0)
