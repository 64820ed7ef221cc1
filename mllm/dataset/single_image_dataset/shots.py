"""Stage 3 of a sample's way, its size: how many supports per class an episode has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypedDict

from mllm.utils.rng import ItemRng


class UniformShot(TypedDict):
    type: Literal['uniform']
    low: int
    high: int


class WeightedShot(TypedDict):
    type: Literal['weighted']
    low: int
    high: int
    rate: float


Shot = int | UniformShot | WeightedShot

SHOT_KEYS = {'uniform': {'low', 'high'}, 'weighted': {'low', 'high', 'rate'}}


def shot_range(shot: Shot) -> tuple[int, int]:
    """Fewest and most supports per class; ValueError unless `shot` is as for `draw_shot`."""
    if isinstance(shot, Mapping):
        keys = SHOT_KEYS.get(str(shot.get('type')), set())
        given = {key: value for key, value in shot.items() if key != 'type'}
        numbers = bool(keys) and set(given) == keys and all(map(is_finite, given.values()))
        numbers = numbers and all(isinstance(given[key], int) for key in ('low', 'high'))
        if not numbers or not 1 <= shot['low'] <= shot['high']:
            raise ValueError(
                f"shot={dict(shot)!r}: expected a number, dict(type='uniform', low=.., high=..) or "
                "dict(type='weighted', low=.., high=.., rate=..) with whole numbers 1 <= low <= high"
            )
        return shot['low'], shot['high']
    if isinstance(shot, bool) or not isinstance(shot, int) or shot < 1:
        raise ValueError(f'shot={shot!r}: expected at least 1 support per class')
    return shot, shot


def is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def draw_shot(shot: Shot, rng: ItemRng, purpose: str = 'shot') -> int:
    """The number of supports per class of one episode.

    A number is fixed; 'uniform' draws from low..high; 'weighted' draws s with weight e^(rate * s).
    """
    low, high = shot_range(shot)
    rate = shot['rate'] if isinstance(shot, Mapping) and shot['type'] == 'weighted' else 0.0
    # Relative to the largest, so that no rate overflows.
    largest = max(rate * low, rate * high)
    weights = [math.exp(rate * number - largest) for number in range(low, high + 1)]
    return low + int(rng(purpose).choice(len(weights), p=[weight / sum(weights) for weight in weights]))
