"""Stage 11 of a sample's way for link-context learning: which of the episode's labels did the model choose?

generation    the label within `there is "<label>" in the image.` is, whole and normalised, the right one
legacy        the right label is found in the answer by the released substring rule, see `link_context_legacy`
likelihood    the right answer has a higher mean log-likelihood per token than every other candidate
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mllm.metric.base import Metric, Numbers, TableRow, rate
from mllm.metric.link_context_legacy import legacy_contrasts, legacy_correct
from mllm.metric.tables import numbers_by
from mllm.metric.text import normalise_answer
from mllm.registry import METRICS
from mllm.types import Prediction

LABEL_PLACEHOLDER = '<label>'
ANSWER_TEMPLATE = f'there is "{LABEL_PLACEHOLDER}" in the image.'
"""The answer of the published protocol (Link-Context Learning)."""

RATES = {
    'legacy_accuracy': 'legacy_correct',
    'likelihood_accuracy': 'likelihood_correct',
    'original_label_rate': 'follows_original',
}
"""Numbers beside `accuracy`, each the mean of a column over the samples that have it."""

MAX_FAULTS = 10
"""So many faulty episodes are shown; more are counted."""


@METRICS.register_module()
class LinkContextAccuracy(Metric[str]):
    """Accuracy by generation and by likelihood, with 95 % intervals that respect shared supports, and tables.

    Reads of `meta`: `label` (the right one), `labels` (one per class of the episode), `candidates` (the answers with
    scores), `support_key`, `class` and `classes` (for the tables), and `original_label` where a control gave the
    classes new labels. Nothing is read from annotation files and nothing depends on the order of predictions.

    Numbers: `n`, `parse_failures` (wrong in `accuracy`), `accuracy`, `legacy_accuracy` (the released rule, to compare
    with the paper), `likelihood_accuracy` and `original_label_rate` (how often the model answers as if the labels
    were the old ones), each rate with `_ci_low` and `_ci_high`. Samples without `label` and `labels` have no part in
    `legacy_accuracy`, samples with fewer than two scores none in `likelihood_accuracy`; a tie between candidates
    counts as wrong. Tables: `by_class` (of the query) and `by_pair` (the classes of the episode, in any order).

    ValueError where two labels of an episode are the same once normalised ("Crane", "crane"), or one is nothing but
    dots and quotes: no answer could tell such classes apart, so no number is given.
    """

    def __init__(self, answer_template: str = ANSWER_TEMPLATE) -> None:
        if answer_template.count(LABEL_PLACEHOLDER) != 1:
            raise ValueError(f'answer_template {answer_template!r} needs {LABEL_PLACEHOLDER} exactly once')
        # Answers are compared in one normal form, in which the full stop at the end may be missing.
        head, tail = (' '.join(part.lower().split()) for part in answer_template.split(LABEL_PLACEHOLDER))
        self.head = head
        self.pattern = re.compile(rf'{re.escape(head)}(.+){re.escape(tail.rstrip("."))}\.?')

    def parse(self, text: str) -> str | None:
        """The normalised label within an answer, None if the text has another form."""
        match = self.pattern.fullmatch(' '.join(text.lower().split()))
        # The sentence within the sentence is no label.
        if not match or (self.head and self.head in match[1]):
            return None
        return normalise_answer(match[1])

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
        """The base rows with `legacy_correct`, `likelihood_correct` and `follows_original` where a sample has them."""
        rows = super().per_sample(predictions)
        for row, prediction in zip(rows, predictions, strict=True):
            meta = prediction.meta
            if 'label' in meta and 'labels' in meta:
                contrasts = legacy_contrasts(meta['label'], meta['labels'])
                row['legacy_correct'] = float(legacy_correct(prediction.pred, meta['label'], contrasts))
            if len(prediction.score) > 1:
                row['likelihood_correct'] = likelihood_correct(prediction)
            if 'original_label' in meta:
                row['follows_original'] = float(row['extracted'] == normalise_answer(meta['original_label']))
        return rows

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        refuse_ambiguous_labels(predictions)
        numbers = super().reduce(rows, predictions)
        for name, column in RATES.items():
            chosen = [(row[column], prediction) for row, prediction in zip(rows, predictions) if column in row]
            numbers |= rate(name, [value for value, _ in chosen], [prediction for _, prediction in chosen])
        return numbers

    def tables(self, predictions: Sequence[Prediction]) -> dict[str, list[TableRow]]:
        return {
            'by_class': numbers_by('class', query_class, self.compute, predictions),
            'by_pair': numbers_by('classes', episode_classes, self.compute, predictions),
        }


def query_class(prediction: Prediction) -> str | None:
    return prediction.meta.get('class')


def episode_classes(prediction: Prediction) -> tuple[str, ...] | None:
    """All classes of the episode (two, in the published protocol), the same ones in every order."""
    classes = prediction.meta.get('classes')
    return tuple(sorted(classes)) if classes else None


def refuse_ambiguous_labels(predictions: Sequence[Prediction]) -> None:
    """ValueError that names the episodes whose labels are not all different, or empty, once normalised."""
    faults = []
    for prediction in predictions:
        names = [normalise_answer(label) for label in prediction.meta.get('labels', [])]
        if '' in names or len(set(names)) < len(names):
            faults.append(f'sample {prediction.index}: {", ".join(map(repr, prediction.meta["labels"]))}')
    if faults:
        more = [f'... and {len(faults) - MAX_FAULTS} more'] if len(faults) > MAX_FAULTS else []
        raise ValueError(
            f"{len(faults)} of {len(predictions)} episodes have labels in meta['labels'] that no answer can tell "
            'apart; give the classes of an episode different names:\n' + '\n'.join([*faults[:MAX_FAULTS], *more])
        )


def likelihood_correct(prediction: Prediction) -> float:
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
