"""Stage 11 of a sample's way: the numbers of a metric for groups of predictions, the worst group first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mllm.metric.base import Numbers, TableRow
from mllm.types import Prediction

Group = TypeVar('Group')


def numbers_by(
    column: str,
    key: Callable[[Prediction], Group | None],
    compute: Callable[[Sequence[Prediction]], Numbers],
    predictions: Sequence[Prediction],
) -> list[TableRow]:
    """A row a group: the group as `column`, then its numbers. Predictions whose `key` is None are left out.

    Lowest `accuracy` first; of equals the one with more predictions, then by name.
    """
    groups: dict[Group, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        group = key(prediction)
        if group is not None:
            groups[group].append(prediction)
    rows: list[dict[str, Any]] = [{column: group, **compute(members)} for group, members in groups.items()]
    return sorted(rows, key=lambda row: (row['accuracy'], -row['n'], row[column]))
