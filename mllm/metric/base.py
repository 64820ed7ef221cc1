"""Stage 11 of a sample's way: predictions -> numbers, in three steps kept apart.

    Prediction --extract--> value, or None where the answer cannot be parsed --score--> 0..1 --reduce--> numbers

A metric sees predictions only: what it needs to know about the question stands in `Prediction.meta`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from mllm.metric.statistics import confidence_interval
from mllm.types import Prediction

Value = TypeVar('Value')
Numbers = dict[str, float | int]


class Metric(ABC, Generic[Value]):
    """A subclass says what an answer is (`extract`) and how good it is (`score`); all else has a default."""

    @abstractmethod
    def extract(self, prediction: Prediction) -> Value | None:
        """The answer within the generated text; None is a parse failure and scores 0."""

    @abstractmethod
    def score(self, value: Value, prediction: Prediction) -> float:
        """How good an extracted answer is, 0..1."""

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """One row a prediction, in order: `index`, `extracted`, `score` and `parsed`."""
        rows = []
        for prediction in predictions:
            value = self.extract(prediction)
            score = 0.0 if value is None else float(self.score(value, prediction))
            rows.append({'index': prediction.index, 'extracted': value, 'score': score, 'parsed': value is not None})
        return rows

    def compute(self, predictions: Sequence[Prediction]) -> Numbers:
        """`n`, `parse_failures`, `accuracy` (mean score) and its 95 % interval; without predictions only the counts."""
        rows = self.per_sample(predictions)
        counts: Numbers = {'n': len(rows), 'parse_failures': sum(not row['parsed'] for row in rows)}
        return {**counts, **rate('accuracy', [row['score'] for row in rows], predictions)}


def rate(name: str, values: Sequence[float], predictions: Sequence[Prediction]) -> Numbers:
    """The mean of `values` as `name`, with `{name}_ci_low` and `{name}_ci_high`; nothing for no values.

    Predictions with the same `meta['support_key']` share their supports and count as one cluster.
    """
    if not values:
        return {}
    clusters = [prediction.meta.get('support_key', f'sample {prediction.index}') for prediction in predictions]
    low, high = confidence_interval(values, clusters)
    return {name: sum(values) / len(values), f'{name}_ci_low': low, f'{name}_ci_high': high}
