"""Stage 9 of a sample's way, after the tower: image tokens -> a fixed number of latents (Flamingo's resampler).

tokens [B, T, F, V, D]   T images (or videos) a row, F frames each, V tokens a frame
latents [B, T, N, D]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer


class FeedForward(nn.Sequential):
    """Norm, up, GELU, down; under the numbers that published checkpoints have for them."""

    def __init__(self, width: int, mult: int) -> None:
        hidden = width * mult
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, hidden, bias=False),
            nn.GELU(),
            nn.Linear(hidden, width, bias=False),
        )


def attend(queries: Tensor, keys_values: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention of [B, L, heads * d] over keys and values side by side in [B, S, 2 * heads * d] -> [B, L, heads * d].

    `mask` is True where a query may look, [B, 1, L, S].
    """
    parts = (queries, *keys_values.chunk(2, dim=-1))
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class PerceiverLayer(GradientCheckpointingLayer):
    """Latents look at the tokens and at themselves, then pass the feed-forward; both residual."""

    def __init__(self, width: int, heads: int, head_dim: int, mult: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.feed_forward = FeedForward(width, mult)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """[b, N, D], [b, S, D] -> [b, N, D]."""
        normed = self.norm_latents(latents)
        context = torch.cat([self.norm_media(tokens), normed], dim=1)
        latents = latents + self.to_out(attend(self.to_q(normed), self.to_kv(context), self.heads))
        return latents + self.feed_forward(latents)


class PerceiverResampler(nn.Module):
    """Every image on its own: F * V tokens -> N latents. Frames get an embedding each if `max_num_frames` is set."""

    def __init__(
        self,
        width: int,
        depth: int = 6,
        num_latents: int = 64,
        heads: int = 8,
        head_dim: int = 64,
        mult: int = 4,
        max_num_frames: int | None = None,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(num_latents, width))
        self.frame_embs = None if max_num_frames is None else nn.Parameter(torch.randn(max_num_frames, width))
        self.layers = nn.ModuleList(PerceiverLayer(width, heads, head_dim, mult) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, F, V, D] -> [B, T, N, D]. ValueError for more frames than there are embeddings."""
        rows, images, frames = tokens.shape[:3]
        if self.frame_embs is not None:
            if frames > len(self.frame_embs):
                raise ValueError(
                    f'{frames} frames in a video, but this model has embeddings for {len(self.frame_embs)} '
                    '(max_num_frames); sample fewer'
                )
            tokens = tokens + self.frame_embs[:frames, None]
        flat = tokens.flatten(2, 3).flatten(0, 1)
        latents = self.latents.expand(len(flat), -1, -1)
        for layer in self.layers:
            latents = layer(latents, flat)
        return self.norm(latents).unflatten(0, (rows, images))
