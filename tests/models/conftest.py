"""Small LLaVAs of drawn weights, by tower, projector and decoder, and episodes for them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import set_seed

from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.models.builder import load_model, load_preprocessor
from mllm.types import Episode, Preprocessor, RawItem, Sample, Turn

SIZES = {'hidden_size': 32, 'num_hidden_layers': 2, 'intermediate_size': 48, 'num_attention_heads': 2}
CLIP = {'model_type': 'clip_vision_model', **SIZES, 'image_size': 32, 'patch_size': 16}
RESNET = {
    'model_type': 'resnet',
    'embedding_size': 8,
    'hidden_sizes': [8, 16],
    'depths': [1, 1],
    'layer_type': 'basic',
    'hidden_size': 16,
}
LLAMA = {'model_type': 'llama', **SIZES, 'num_key_value_heads': 2, 'initializer_range': 0.2}
LFM2 = {
    'model_type': 'lfm2',
    **SIZES,
    'num_key_value_heads': 2,
    'layer_types': ['conv', 'full_attention'],
    'conv_bias': True,
    'block_auto_adjust_ff_dim': False,
    'tie_word_embeddings': True,
    'initializer_range': 0.2,
}
CLIP_LLAMA = {'vision_tower': CLIP, 'llm': LLAMA, 'projector': 'linear'}
RESNET_LFM2 = {
    'vision_tower': RESNET,
    'llm': LFM2,
    'projector': 'pool',
    'projector_args': {'num_tokens': 2, 'dim': 8},
    'mm_vision_select_layer': -1,
    'mm_vision_select_feature': 'full',
    'decoder_init': 'open_gates',
    'freeze': ['*.conv.in_proj.bias'],
}
KINDS = {'clip_llama': CLIP_LLAMA, 'resnet_lfm2': RESNET_LFM2}


@pytest.fixture
def model_args(root) -> Callable[..., dict[str, Any]]:
    def make(kind: str = 'clip_llama', **changes: Any) -> dict[str, Any]:
        return {'type': 'llava', 'tokenizer': str(root / 'data/tiny_llava'), 'image_size': 32, **KINDS[kind], **changes}

    return make


@pytest.fixture
def build(model_args) -> Callable[..., tuple[Any, Preprocessor]]:
    def make(*args: Any, seed: int = 1, **kwargs: Any) -> tuple[Any, Preprocessor]:
        arguments = model_args(*args, **kwargs)
        preprocessor = load_preprocessor(arguments)
        set_seed(seed)
        return load_model(arguments, preprocessor).eval(), preprocessor

    return make


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def item(label: str, seed: int | None) -> RawItem:
    question = 'What is in the image <image>?' if seed is not None else 'What is it?'
    turns = [
        Turn({'from': 'human', 'value': question}),
        Turn({'from': 'gpt', 'value': f'there is "{label}" in the image.'}),
    ]
    return RawItem(image=None if seed is None else picture(seed), conversations=turns)


@pytest.fixture
def encode() -> Callable[..., Sample]:
    """(preprocessor, seeds of the images, the query's last; None = no image) -> training sample."""

    def make(preprocessor: Preprocessor, *seeds: int | None) -> Sample:
        *support, query = (item('abcd'[number % 4] * 2, seed) for number, seed in enumerate(seeds))
        return EpisodeEncoder(preprocessor, training=True)(Episode(query, tuple(support)), 0)

    return make


@pytest.fixture
def logits() -> Callable[..., list[torch.Tensor]]:
    """Logits [L, V] of each sample, computed in one batch."""

    def compute(
        model: Any, preprocessor: Preprocessor, samples: list[Sample], side: str = 'right'
    ) -> list[torch.Tensor]:
        batch = Collator(preprocessor, side, training=True)(samples)  # type: ignore[arg-type]
        batch.pop('labels')
        with torch.no_grad():
            out = model(**batch, use_cache=False).logits
        return [row[mask.bool()] for row, mask in zip(out, batch['attention_mask'], strict=True)]

    return compute
