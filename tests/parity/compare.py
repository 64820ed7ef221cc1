"""What two computations of the same thing differ by."""

from __future__ import annotations

from torch import Tensor

Result = tuple[str, float | bool]
"""What was compared: the largest difference, or whether it is equal."""


def difference(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max())
