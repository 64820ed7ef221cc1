"""Small Flamingos of drawn weights over each kind of language model, gates open, and batches for them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import set_seed

from mllm.models.flamingo.config import FlamingoConfig
from mllm.models.flamingo.modeling import FlamingoForConditionalGeneration

IMAGE, PAD = 30, 0
CLIP = {
    'model_type': 'clip_vision_model',
    'hidden_size': 16,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'intermediate_size': 32,
    'image_size': 16,
    'patch_size': 8,
}
SHARED = {'vocab_size': 32, 'num_hidden_layers': 4, 'num_attention_heads': 4, 'hidden_size': 32}
MPT = {'vocab_size': 32, 'n_layers': 4, 'n_heads': 4, 'd_model': 32}
DECODERS: dict[str, dict[str, Any]] = {
    'llama': {**SHARED, 'num_key_value_heads': 2, 'intermediate_size': 48, 'initializer_range': 0.2},
    'opt': {**SHARED, 'word_embed_proj_dim': 32, 'ffn_dim': 48, 'init_std': 0.2, 'dropout': 0.0},
    'gpt_neox': {**SHARED, 'intermediate_size': 48, 'rotary_pct': 0.5, 'initializer_range': 0.2},
    'mpt': {**MPT, 'max_seq_len': 128, 'initializer_range': 0.2},
    'mosaic_gpt': {**MPT, 'alibi': True, 'no_bias': True, 'init_std': 0.2},
}
SIZES = {'perceiver_depth': 2, 'num_latents': 3, 'num_heads': 2, 'head_dim': 8}


@pytest.fixture(params=list(DECODERS))
def kind(request) -> str:
    return request.param


@pytest.fixture
def flamingo() -> Callable[..., FlamingoForConditionalGeneration]:
    def make(kind: str = 'llama', seed: int = 3, **changes: Any) -> FlamingoForConditionalGeneration:
        text = {'model_type': kind, **DECODERS[kind]}
        options = {'cross_attn_every_n_layers': 2, 'media_token_id': IMAGE, **SIZES, **changes}
        set_seed(seed)
        model = FlamingoForConditionalGeneration(FlamingoConfig(vision_config=CLIP, text_config=text, **options))
        with torch.no_grad():
            for block in model.cross_attention:
                block.attn_gate.fill_(1.0)
                block.ff_gate.fill_(0.7)
                # Loud enough to change which token is the likeliest.
                block.attn.to_out.weight.mul_(8)
        return model.eval()

    return make


def ids_of(*rows: str, side: str = 'right') -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of letters, `i` for an image, as ids and mask, padded on one side."""
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), PAD), torch.zeros(len(rows), width, dtype=torch.int64)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if side == 'left' else slice(len(row))
        ids[number, place] = torch.tensor([IMAGE if letter == 'i' else ord(letter) - ord('a') + 1 for letter in row])
        mask[number, place] = 1
    return ids, mask


def pixels_of(*rows: list[int], frames: int = 1) -> torch.Tensor:
    """[B, T, F, 3, 16, 16] of the images with these seeds, zeros after a row's last."""
    pixels = torch.zeros(len(rows), max(map(len, rows)), frames, 3, 16, 16)
    for row, seeds in zip(pixels, rows, strict=True):
        for place, seed in zip(row, seeds, strict=False):
            place.copy_(torch.randn(place.shape, generator=torch.Generator().manual_seed(seed)))
    return pixels


@torch.no_grad()
def logits_of(model: Any, rows: list[str], images: list[list[int]], side: str = 'right') -> list[torch.Tensor]:
    """Logits [L, V] of each row, computed in one batch."""
    ids, mask = ids_of(*rows, side=side)
    inputs = {'pixel_values': pixels_of(*images)} if any(images) else {}
    out = model(ids, mask, **inputs).logits
    return [row[keep.bool()] for row, keep in zip(out, mask, strict=True)]
