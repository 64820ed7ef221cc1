"""Stage 11 of a sample's way for link-context learning: which of the episode's labels did the model choose?

generation    the label within `there is "<label>" in the image.` is, whole and normalised, the right one
likelihood    the right answer has a higher mean log-likelihood per token than every other candidate
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mllm.metric.base import Metric, Numbers, rate
from mllm.metric.text import normalise_answer
from mllm.registry import METRICS
from mllm.types import Prediction

LABEL_PLACEHOLDER = '<label>'
ANSWER_TEMPLATE = f'there is "{LABEL_PLACEHOLDER}" in the image.'
"""The answer of the published protocol (Link-Context Learning)."""


@METRICS.register_module()
class LinkContextAccuracy(Metric[str]):
    """Accuracy by generation and by likelihood, both with 95 % intervals that respect shared supports.

    Reads of `meta`: `label` (the right one), `labels` (all of the episode), `candidates` (the answers with scores),
    `support_key`, and `original_label` where a control gave the classes new labels. Numbers: `n`,
    `parse_failures` (wrong in `accuracy`), `accuracy`, `likelihood_accuracy` and `original_label_rate` (how often the
    model answers as if the labels were the old ones), each rate with `_ci_low` and `_ci_high`.
    Samples with fewer than two scores have no part in `likelihood_accuracy`; a tie between candidates counts as wrong.
    """

    def __init__(self, answer_template: str = ANSWER_TEMPLATE) -> None:
        if answer_template.count(LABEL_PLACEHOLDER) != 1:
            raise ValueError(f'answer_template {answer_template!r} needs {LABEL_PLACEHOLDER} exactly once')
        # Answers are compared in one normal form, in which the full stop at the end may be missing.
        head, tail = (' '.join(part.lower().split()) for part in answer_template.split(LABEL_PLACEHOLDER))
        self.pattern = re.compile(rf'{re.escape(head)}(.+){re.escape(tail.rstrip("."))}\.?')

    def parse(self, text: str) -> str | None:
        """The normalised label within an answer, None if the text has another form."""
        match = self.pattern.fullmatch(' '.join(text.lower().split()))
        return normalise_answer(match[1]) if match else None

    def extract(self, prediction: Prediction) -> str | None:
        """The label answered: within the answer's form, or one of the episode's labels and nothing else."""
        bare = normalise_answer(prediction.pred)
        labels = {normalise_answer(label) for label in prediction.meta.get('labels', [])}
        return self.parse(prediction.pred) or (bare if bare in labels else None)

    def score(self, value: str, prediction: Prediction) -> float:
        return float(value == self.right_label(prediction))

    def right_label(self, prediction: Prediction) -> str:
        """`meta['label']`, or the label within the target, normalised."""
        if 'label' in prediction.meta:
            return normalise_answer(prediction.meta['label'])
        label = self.parse(prediction.target)
        if label is None:
            raise ValueError(
                f"sample {prediction.index}: no label in the target {prediction.target!r}; give meta['label']"
            )
        return label

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """The base rows, with `likelihood_score` where there are scores and `follows_original` in a control."""
        rows = super().per_sample(predictions)
        for row, prediction in zip(rows, predictions, strict=True):
            if len(prediction.score) > 1:
                row['likelihood_score'] = likelihood_score(prediction)
            if 'original_label' in prediction.meta:
                original = normalise_answer(prediction.meta['original_label'])
                row['follows_original'] = float(row['extracted'] == original)
        return rows

    def compute(self, predictions: Sequence[Prediction]) -> Numbers:
        numbers = super().compute(predictions)
        rows = self.per_sample(predictions)
        columns = {'likelihood_accuracy': 'likelihood_score', 'original_label_rate': 'follows_original'}
        for name, column in columns.items():
            chosen = [(row[column], prediction) for row, prediction in zip(rows, predictions) if column in row]
            numbers |= rate(name, [value for value, _ in chosen], [prediction for _, prediction in chosen])
        return numbers


def likelihood_score(prediction: Prediction) -> float:
    """1 if the target scores higher than every other candidate, else 0 (a tie or a NaN is not higher)."""
    candidates = prediction.meta.get('candidates') or list(prediction.score)
    missing = [answer for answer in {prediction.target, *candidates} if answer not in prediction.score]
    if missing:
        raise ValueError(
            f'sample {prediction.index}: no score for {", ".join(map(repr, sorted(missing)))}; '
            "meta['candidates'] must list every answer that is scored, the target among them"
        )
    right = prediction.score[prediction.target]
    return float(all(right > prediction.score[answer] for answer in candidates if answer != prediction.target))
