"""Stages 2 and 11 of a sample's way for POPE: is there such a thing in the image? Yes or no.

Rows: {"question_id", "image", "text", "label": "yes" or "no"}, as published (JSON Lines, or one array).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, field, two_turns
from mllm.metric.answer import answer_of
from mllm.metric.base import Metric, Numbers, rate
from mllm.metric.statistics import bootstrap_of
from mllm.registry import DATASETS, METRICS
from mllm.types import IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, Prediction, RawItem
from mllm.utils.rng import ItemRng

LABELS = ('yes', 'no')
FIRST = re.compile(r'\W*(yes|no)\b')
WORDS = re.compile(r"\b(?:yes|no|not)\b|n't\b")


@DATASETS.register_module()
class POPEVQADataset(MInstrDataset):
    """Template with <question> and <image>; answer `The answer is {label} .`"""

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        label = field(row, 'label', str).lower()
        if label not in LABELS:
            raise ValueError(f"label is {row['label']!r}; expected 'yes' or 'no'")
        question = self.get_template(rng).replace(QUESTION_PLACEHOLDER, field(row, 'text', str))
        answers = [f'The answer is {name} .' for name in LABELS]
        meta = {'label': label, 'labels': list(LABELS), 'candidates': answers}
        if 'question_id' in row:
            meta['id'] = row['question_id']
        return {'conversations': two_turns(question, f'The answer is {label} .'), 'meta': meta}


@METRICS.register_module()
class POPEComputeMetrics(Metric[str]):
    """Accuracy, and of the answer yes precision, recall and F1, and how often yes is answered; with 95 % intervals.

    An answer is the yes or no that it begins with, else the only one that it holds ("not" and "isn't" count as no);
    otherwise it is a parse failure: wrong, and neither yes nor no.
    """

    def extract(self, prediction: Prediction) -> str | None:
        answer = (answer_of(prediction.pred) or '').lower()
        if first := FIRST.match(answer):
            return first[1]
        found = {'yes' if word == 'yes' else 'no' for word in WORDS.findall(answer)}
        return found.pop() if len(found) == 1 else None

    def score(self, value: str, prediction: Prediction) -> float:
        return float(value == self.label(prediction))

    def label(self, prediction: Prediction) -> str:
        label = prediction.meta.get('label') or self.extract(Prediction(0, prediction.target, ''))
        if label not in LABELS:
            raise ValueError(f'sample {prediction.index}: the target {prediction.target!r} is neither yes nor no')
        return label

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        numbers = super().reduce(rows, predictions)
        if not rows:
            return numbers
        answered = np.array([row['extracted'] == 'yes' for row in rows], dtype=float)
        right = np.array([self.label(prediction) == 'yes' for prediction in predictions], dtype=float)
        counts = np.stack([answered * right, answered, right], axis=1)
        for name, of in RATIOS.items():
            value, (low, high) = of(counts.sum(axis=0)), bootstrap_of(counts, of)
            numbers |= {name: float(value), f'{name}_ci_low': low, f'{name}_ci_high': high}
        return numbers | rate('yes_ratio', answered.tolist(), predictions)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)


RATIOS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'precision': lambda sums: ratio(sums[..., 0], sums[..., 1]),
    'recall': lambda sums: ratio(sums[..., 0], sums[..., 2]),
    'f1': lambda sums: ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2]),
}
"""Of sums (true yes, answered yes, right answer yes) over samples."""
