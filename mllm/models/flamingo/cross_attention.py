"""Stage 9 of a sample's way, inside the language model: text looks at images through gated cross-attention (Flamingo).

text_time [B, L]   how many <image> stand up to and with each token
media [B, T, N, D] the latents of each row's images; image t (from 1) is seen by tokens with text_time == t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DummyLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from mllm.models.flamingo.resampler import FeedForward, attend


@dataclass(frozen=True)
class Conditioning:
    """What the decoder layers of one forward pass see of images.

    media   [B, T * N, D], None where the batch has no image
    mask    [B, 1, L, T * N], True where a token looks; all True for tokens that see none
    sees    [B, L, 1], whether a token sees an image
    evenly  [B, L, 1], whether it sees all latents alike
    """

    media: Tensor | None = None
    mask: Tensor | None = None
    sees: Tensor | None = None
    evenly: Tensor | None = None


def conditioning(media: Tensor, times: Tensor, counts: Tensor, immediate: bool) -> Conditioning:
    """Who sees what, for tokens with text_time `times` [B, L] in rows with `counts` [B] images in `media` [B, T, N, D].

    A token beyond the last image, which only a model can have written, sees all of the row's alike: the original masks
    every image for it, and a softmax of equal scores remains.
    """
    numbers = torch.arange(1, media.shape[1] + 1, device=media.device)
    own = (numbers <= counts[:, None])[:, None]
    times = times[..., None]
    beyond = (times > counts[:, None, None]) & immediate
    looks = ((times == numbers) | beyond if immediate else times >= numbers) & own
    sees = looks.any(-1, keepdim=True)
    mask = (looks | ~sees).repeat_interleave(media.shape[2], dim=-1)
    return Conditioning(media.flatten(1, 2), mask[:, None], sees, beyond)


class MaskedCrossAttention(nn.Module):
    """Text attends to latents; the text is normed, the latents are not."""

    def __init__(self, width: int, media_width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(media_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, text: Tensor, given: Any) -> Tensor:
        """[B, L, W] and a `Conditioning` with images -> [B, L, W]."""
        queries = self.to_q(self.norm(text)) * ~given.evenly
        return self.to_out(
            attend(queries, self.to_kv(given.media.to(queries.dtype)), self.heads, given.mask) * given.sees
        )


class GatedCrossAttentionBlock(GradientCheckpointingLayer):
    """What stands before a conditioned decoder layer. Both gates start at 0, where the block changes nothing."""

    def __init__(self, width: int, media_width: int, heads: int, head_dim: int, mult: int) -> None:
        super().__init__()
        self.attn = MaskedCrossAttention(width, media_width, heads, head_dim)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        self.feed_forward = FeedForward(width, mult)
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(self, text: Tensor, given: Conditioning) -> Tensor:
        """[B, L, W] -> [B, L, W]. Without an image only the feed-forward adds to the text."""
        if given.media is not None:
            text = text + self.attn_gate.tanh() * self.attn(text, given)
        return text + self.ff_gate.tanh() * self.feed_forward(text)


class MediaLayer(DummyLayer):
    """What a key-value cache remembers of images; as one of its layers it is reordered, repeated and cut with it.

    media    [B, T, N, D]
    counts   [B], how many of them are the row's own
    times    [B, L], text_time of every token in the cache
    """

    is_compileable = False

    def __init__(self, media: Tensor, counts: Tensor, times: Tensor) -> None:
        super().__init__()
        self.media, self.counts, self.times = media, counts, times

    @staticmethod
    def of(cache: Cache | None) -> MediaLayer | None:
        layers: list[Any] = [] if cache is None else cache.layers
        return next((layer for layer in layers if isinstance(layer, MediaLayer)), None)

    @property
    def last(self) -> Tensor:
        """[B], text_time of the last token."""
        return self.times[:, -1] if self.times.shape[1] else torch.zeros_like(self.counts)

    @property
    def left(self) -> Tensor:
        """[B], images whose token is still in the cache."""
        return torch.minimum(self.counts, self.last)

    def select(self, rows: Tensor) -> None:
        self.media, self.counts, self.times = (
            tensor.index_select(0, rows.to(tensor.device)) for tensor in (self.media, self.counts, self.times)
        )

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.select(torch.arange(len(self.times), device=self.times.device).repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove:
            self.times = self.times[:, : -abs(tokens_to_remove)]

    def reset(self) -> None:
        self.times = self.times[:, :0]
        self.counts = torch.zeros_like(self.counts)


def join_media(old: Tensor, kept: Tensor, new: Tensor) -> Tensor:
    """Each row's images one after the other: the first `kept` [B] of `old` [B, S, N, D], then `new` [B, T, N, D]."""
    both = torch.cat([old, new.to(old.dtype)], dim=1)
    place = torch.arange(both.shape[1], device=both.device)[None]
    source = torch.where(place < kept[:, None], place, place - kept[:, None] + old.shape[1])
    # Places after a row's last image hold any of them; `counts` keeps them out of sight.
    index = source.clamp(max=both.shape[1] - 1)
    return both.gather(1, index[:, :, None, None].expand_as(both))
