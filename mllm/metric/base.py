"""Stage 11 of a sample's way: predictions -> numbers, in three steps kept apart.

    Prediction --extract--> value, or None where the answer cannot be parsed --score--> 0..1 --reduce--> numbers

A metric sees predictions only: what it needs to know about the question stands in `Prediction.meta`. The evaluator
asks it for three things: a row per sample (`per_sample`), the numbers of these (`reduce`) and tables over groups
(`tables`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from mllm.metric.statistics import bootstrap_bounds, confidence_interval
from mllm.types import Prediction

Value = TypeVar('Value')
Numbers = dict[str, float | int]
TableRow = dict[str, Any]
"""A group of predictions: its first entry names the group, the others are its numbers."""


class Metric(ABC, Generic[Value]):
    """A subclass says what an answer is (`extract`) and how good it is (`score`); all else has a default."""

    @abstractmethod
    def extract(self, prediction: Prediction) -> Value | None:
        """The answer within the generated text; None is a parse failure and scores 0."""

    @abstractmethod
    def score(self, value: Value, prediction: Prediction) -> float:
        """How good an extracted answer is, 0..1."""

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """One row a prediction, in order: `index`, `extracted`, `correct` (its score, 0..1) and `parsed`.

        A subclass may add columns. They are written beside the prediction's own fields (`pred`, `target`, `meta`,
        `score`), whose names they cannot take.
        """
        rows = []
        for prediction in predictions:
            value = self.extract(prediction)
            correct = 0.0 if value is None else float(self.score(value, prediction))
            parsed = value is not None
            rows.append({'index': prediction.index, 'extracted': value, 'correct': correct, 'parsed': parsed})
        return rows

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        """`n`, `parse_failures`, `accuracy` (mean score) and its 95 % interval; without predictions only the counts."""
        counts: Numbers = {'n': len(rows), 'parse_failures': sum(not row['parsed'] for row in rows)}
        return {**counts, **rate('accuracy', [row['correct'] for row in rows], predictions)}

    def compute(self, predictions: Sequence[Prediction]) -> Numbers:
        """The numbers of `reduce` over all predictions."""
        return self.reduce(self.per_sample(predictions), predictions)

    def tables(self, predictions: Sequence[Prediction]) -> dict[str, list[TableRow]]:
        """Numbers for groups of predictions, by the name of the grouping (`tables.numbers_by`); none by default."""
        return {}


def rate(name: str, values: Sequence[float], predictions: Sequence[Prediction]) -> Numbers:
    """The mean of `values` as `name`, with `{name}_ci_low` and `{name}_ci_high`; nothing for no values.

    Predictions with the same `meta['support_key']` share their supports and count as one cluster.
    """
    if not values:
        return {}
    low, high = confidence_interval(values, clusters_of(predictions))
    return {name: sum(values) / len(values), f'{name}_ci_low': low, f'{name}_ci_high': high}


def mean(name: str, values: Sequence[float], predictions: Sequence[Prediction]) -> Numbers:
    """The mean of `values` of any range as `name`, with its interval by resampling; clusters as for `rate`."""
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters_of(predictions)))}
    member = np.array([numbers[cluster] for cluster in clusters_of(predictions)])
    low, high = bootstrap_bounds(np.asarray(values, dtype=float), member, seed=0)
    return {name: sum(values) / len(values), f'{name}_ci_low': low, f'{name}_ci_high': high}


def clusters_of(predictions: Sequence[Prediction]) -> list[str]:
    """What rises and falls together: predictions that share their supports, else each alone."""
    return [prediction.meta.get('support_key', f'sample {prediction.index}') for prediction in predictions]
