"""Stage 9 of a sample's way, before training: tokens a tokenizer must know, and rows for them in the embeddings."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import AddedToken
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from mllm.models.sentencepiece import ADDED_FILE, MODEL_FILE, from_sentencepiece, swallowing


def load_tokenizer(path: str, max_length: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or of a name on the Hugging Face hub; `max_length` in tokens.

    A sentencepiece model of LLaMA is read as transformers 4 did, unless its `tokenizer_config.json` says
    `legacy: false`; everything else is read by `AutoTokenizer`.
    """
    model_file, config_file = find_file(path, MODEL_FILE), find_file(path, 'tokenizer_config.json')
    settings = json.loads(Path(config_file).read_text(encoding='utf-8')) if config_file else {}
    if model_file is None or settings.get('legacy') is False:
        return AutoTokenizer.from_pretrained(path, model_max_length=max_length)
    tokenizer = from_sentencepiece(model_file, find_file(path, ADDED_FILE))
    tokenizer.model_max_length = max_length
    return tokenizer


def find_file(path: str, name: str) -> str | None:
    """Where a file of a folder or of a repository on the hub lies on this machine; None if it has none."""
    try:
        return cached_file(path, name)
    except OSError:
        return None


def add_tokens(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], written: Collection[str] = (), swallow: bool = True
) -> None:
    """Add what is not there yet, each as one token; a tokenizer without pad token pads with <unk> or </s>.

    All are special, hence left out of decoded answers, but those that are `written` there: coordinates. They `swallow`
    the white space beside them as in transformers 4, or leave it.
    """
    # A special token that is a mere word of the vocabulary may be split or joined with its neighbours; it keeps its id.
    words, known = tokenizer.get_vocab(), cast(dict[str, int], tokenizer.added_tokens_encoder)
    for token in tokens:
        if token not in (words if token in written else known):
            added = swallowing(token) if swallow else AddedToken(token, normalized=False, special=True)
            if token in written:
                added.special = False
                tokenizer.add_tokens([added])  # type: ignore[list-item]
            else:
                tokenizer.add_special_tokens(
                    {'additional_special_tokens': [added]},  # type: ignore[dict-item]
                    replace_extra_special_tokens=False,
                )
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
