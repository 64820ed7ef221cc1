"""Randomness that depends on what is drawn, never on who draws it.

`item_rng(seed, epoch, index, purpose)` is the same on every worker, rank and after every resumption.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np


def item_rng(seed: int, epoch: int, index: int, purpose: str) -> np.random.Generator:
    """A generator of its own for one purpose of one item (Philox, a counter-based generator)."""
    digest = hashlib.blake2b(f'{seed}/{epoch}/{index}/{purpose}'.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, 'little')))


@dataclass(frozen=True)
class ItemRng:
    """The randomness of one item: `rng('template')` always returns the same fresh generator."""

    seed: int
    epoch: int = 0
    index: int = 0
    scope: str = ''

    def __call__(self, purpose: str) -> np.random.Generator:
        return item_rng(self.seed, self.epoch, self.index, self.scope + purpose)

    def within(self, scope: str) -> ItemRng:
        """The randomness of a part of the item, which asks for the same purposes as the item itself."""
        return replace(self, scope=f'{self.scope}{scope}/')
