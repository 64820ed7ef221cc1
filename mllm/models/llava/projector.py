"""Stage 9 of a sample's way, between tower and language model: image features -> embeddings of the language model.

[B, N, C] or [B, C, H, W]  ->  [B, tokens, hidden]
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

ProjectorName = Literal['linear', 'mlp2x_gelu', 'pool', 'grid']
PROJECTOR_FIELD = 'mllm_projector'
"""Field of a saved config.json: which projector to rebuild. Plain Hugging Face models do not have it."""
PROJECTORS = ('linear', 'mlp2x_gelu', 'pool', 'grid')


def as_sequence(features: Tensor) -> Tensor:
    """Feature maps [B, C, H, W] -> [B, H * W, C], row by row; sequences stay as they are."""
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features


class LinearProjector(nn.Linear):
    """One linear map per feature (LLaVA-v1, Shikra, LCL)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(as_sequence(input))


class MLPProjector(nn.Sequential):
    """Two linear maps with a GELU between them (LLaVA-1.5)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(as_sequence(input))


class FeaturePool(nn.Module):
    """Features [B, N, C] -> [B, num_tokens, dim], of unit length, then standardised by `mean` and `std`.

    Neighbouring features are averaged into `num_tokens` groups. This is the head that a contrastive tower is trained
    with; the statistics are buffers, taken over its training images. Without them a component common to all
    images makes every pair of images look alike to attention.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, dim, bias=False)
        self.register_buffer('mean', torch.zeros(dim))
        self.register_buffer('std', torch.ones(dim))

    def forward(self, features: Tensor) -> Tensor:
        normed = self.norm(as_sequence(features))
        pooled = functional.adaptive_avg_pool1d(normed.transpose(1, 2), self.num_tokens).transpose(1, 2)
        unit = functional.normalize(self.proj(pooled), dim=-1)
        return (unit - self.mean) / self.std


class PoolProjector(nn.Module):
    """`FeaturePool`, then one linear map."""

    def __init__(self, width: int, hidden: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.pool = FeaturePool(width, num_tokens, dim)
        self.linear = nn.Linear(dim, hidden)
        # Standardised features have unit variance: keep it, so that images and words start equally loud.
        nn.init.normal_(self.linear.weight, std=dim**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.pool(features))


class GridProjector(nn.Module):
    """Every feature standardised by `mean` and `std`, then one linear map, and what its place in the grid adds.

    For towers whose features do not say where they are: a convolution's are the same everywhere in an image.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, hidden: int, num_tokens: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(width))
        self.register_buffer('std', torch.ones(width))
        self.linear = nn.Linear(width, hidden)
        self.position = nn.Parameter(torch.randn(num_tokens, hidden))
        nn.init.normal_(self.linear.weight, std=width**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        sequence = as_sequence(features)
        if sequence.shape[1] != len(self.position):
            raise ValueError(
                f"projector_args.num_tokens={len(self.position)}, but the tower's features are {sequence.shape[1]}"
            )
        return self.linear((sequence - self.mean) / self.std) + self.position


def build_projector(name: str, width: int, hidden: int, num_tokens: int = 1, dim: int = 64) -> nn.Module:
    """A projector from features of `width` channels to a language model of `hidden`; ValueError for unknown names.

    `num_tokens` and `dim` are those of 'pool'; 'grid' takes the number of the tower's features as `num_tokens`.
    """
    builders: dict[str, Any] = {
        'linear': lambda: LinearProjector(width, hidden),
        'mlp2x_gelu': lambda: MLPProjector(width, hidden),
        'pool': lambda: PoolProjector(width, hidden, num_tokens, dim),
        'grid': lambda: GridProjector(width, hidden, num_tokens),
    }
    if name not in builders:
        raise ValueError(f'projector={name!r}: expected one of {", ".join(PROJECTORS)}')
    return builders[name]()
