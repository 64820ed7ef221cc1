"""The models of tools/gpu_check.py: published sizes with drawn weights, and tiny ones to try the code with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = str(Path(__file__).resolve().parents[2] / 'data' / 'tiny_llava')
"""A tokenizer; the models' vocabularies are larger, and none of their words is used."""


@dataclass(frozen=True)
class Case:
    """A base of config/_base_/model/, changes of its arguments, and the episodes it is given.

    large   changes that make it the model of the published size
    small   changes of these that make it a tiny one
    words   of each question
    lora    the layers that get adapters
    """

    base: str
    large: Mapping[str, Any]
    small: Mapping[str, Any]
    shots: int
    words: int
    batch: int
    lora: Sequence[str] = ('*q_proj', '*v_proj')


def clip(hidden: int, feed_forward: int, layers: int, heads: int, side: int) -> dict[str, Any]:
    sizes = {'hidden_size': hidden, 'intermediate_size': feed_forward, 'num_hidden_layers': layers}
    places = {'num_attention_heads': heads, 'image_size': side, 'patch_size': 14}
    return {'model_type': 'clip_vision_model', **sizes, **places}


def llama(hidden: int, feed_forward: int, layers: int, heads: int, key_heads: int, words: int) -> dict[str, Any]:
    sizes = {'hidden_size': hidden, 'intermediate_size': feed_forward, 'num_hidden_layers': layers}
    attention = {'num_attention_heads': heads, 'num_key_value_heads': key_heads, 'max_position_embeddings': 4096}
    return {'model_type': 'llama', **sizes, **attention, 'vocab_size': words}


def smolvlm(text: Mapping[str, Any], hidden: int, feed_forward: int, layers: int, heads: int) -> dict[str, Any]:
    """Images of 32 pixels and 4 tokens, those of the tiny processor, whatever the widths."""
    sizes = {'hidden_size': hidden, 'intermediate_size': feed_forward, 'num_hidden_layers': layers}
    vision = {**sizes, 'num_attention_heads': heads, 'image_size': 32, 'patch_size': 8}
    return {'model_type': 'smolvlm', 'scale_factor': 2, 'vision_config': vision, 'text_config': dict(text)}


CLIP_L, TINY_CLIP = clip(1024, 4096, 24, 16, 224), clip(32, 48, 2, 4, 28)
LLAMA_7B, TINY_LLAMA = llama(4096, 11008, 32, 32, 32, 32000), llama(64, 96, 4, 4, 4, 128)
CASES = {
    'llava_7b': Case(
        'llava_v1_7b',
        {'llm': LLAMA_7B, 'vision_tower': CLIP_L, 'tokenizer': WORDS, 'model_max_length': 4096},
        {'llm': TINY_LLAMA, 'vision_tower': TINY_CLIP, 'image_size': 28},
        shots=7,
        words=20,
        batch=2,
    ),
    # As OpenFlamingo-9B, over LLaMA-7B.
    'flamingo_9b': Case(
        'tiny_flamingo',
        {
            **{'llm': LLAMA_7B, 'vision_tower': CLIP_L, 'image_size': 224, 'sizes': {}, 'cross_attn_every_n_layers': 4},
            **{'freeze_vision_tower': True, 'freeze_llm': True, 'tune_embeddings': 'none'},
        },
        {'llm': TINY_LLAMA, 'vision_tower': TINY_CLIP, 'image_size': 28, 'sizes': {'perceiver_depth': 2}},
        shots=7,
        words=60,
        batch=2,
    ),
    'smolvlm_500m': Case(
        'tiny_hf_vlm',
        {'config': smolvlm(llama(960, 2560, 32, 15, 5, 49280), 768, 3072, 12, 12), 'model_max_length': 4096},
        {'config': smolvlm(llama(64, 96, 2, 4, 2, 512), 48, 96, 2, 2)},
        shots=7,
        words=60,
        batch=4,
    ),
}
