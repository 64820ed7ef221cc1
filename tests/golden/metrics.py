"""Golden cases of metrics; here those of link-context learning, run through `LinkContextAccuracy`.

`RUNNERS` give what the released rule gives; `SANE` give our own accuracy. Both take a whole case, keyed by its group,
return what it expects, and raise ValueError to refuse. The habits of the released metric classes live here:

    the target is a whole prompt with the answer at its end, the answer of the model still has its end mark and padding
    isekai        the pair of a sample is that of the annotation row at its position
    imagenet100   rows 0 and 1, 2 and 3, ... are pairs, looked up by the cleaned label; of equal names the last counts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mllm.metric.link_context import LinkContextAccuracy
from mllm.metric.link_context_legacy import legacy_label
from mllm.metric.text import normalise_answer
from mllm.types import Prediction
from tests.golden import metrics_released
from tests.golden.metrics_released import answer_alone

Case = dict[str, Any]
Pair = tuple[str, str]


def isekai_pairs(case: Case) -> list[Pair]:
    return [(row['positive_promt'], row['negative_promt']) for row in case['annotation_rows']]


def imagenet100_pairs(case: Case) -> list[Pair]:
    names = [row['class_name'].lower() for row in case['annotation_rows']]
    return list(zip(names[::2], names[1::2], strict=True))


def isekai(case: Case) -> Case:
    pairs, predictions = isekai_pairs(case), []
    for index, sample in enumerate(case['samples']):
        label = legacy_label(answer_alone(sample['target']))
        if index >= len(pairs) or {name.lower() for name in pairs[index]} == {label}:
            raise ValueError(f'sample {index}: no annotation row gives a contrast for {label!r}')
        predictions.append(released(index, sample, label, pairs[index]))
    return legacy_numbers(predictions)


def imagenet100(case: Case) -> Case:
    contrasts = {}
    for first, second in imagenet100_pairs(case):
        contrasts[first] = second
        contrasts[second] = first
    predictions = []
    for index, sample in enumerate(case['samples']):
        label = legacy_label(answer_alone(sample['target']))
        if label not in contrasts:
            raise ValueError(f'sample {index}: no annotation row has the class {label!r}')
        predictions.append(released(index, sample, label, (label, contrasts[label])))
    return legacy_numbers(predictions)


def released(index: int, sample: Case, label: str, pair: Pair) -> Prediction:
    """A sample as the released rule sees it: the answer with all that follows it."""
    meta = {'label': label, 'labels': list(pair)}
    return Prediction(index, sample['pred'], answer_alone(sample['target']), meta)


def legacy_numbers(predictions: Sequence[Prediction]) -> Case:
    """The released counts of failures exist, but no text makes them count."""
    verdicts = [row['legacy_correct'] for row in LinkContextAccuracy().per_sample(predictions)]
    if not verdicts:
        raise ValueError('no samples')
    return {'accuracy': sum(verdicts) / len(verdicts), 'failed': 0, 'target_failed': 0}


def sane_isekai(case: Case) -> Case:
    return sane_numbers(case, isekai_pairs(case))


def sane_imagenet100(case: Case) -> Case:
    return sane_numbers(case, imagenet100_pairs(case))


def sane_numbers(case: Case, pairs: Sequence[Pair]) -> Case:
    """Our accuracy, the pair found by the label wherever it stands in the file."""
    metric, predictions = LinkContextAccuracy(), []
    for index, sample in enumerate(case['samples']):
        target = answer_alone(sample['target'])
        label = metric.parse(target)
        pair = next((pair for pair in pairs if label in map(normalise_answer, pair)), None)
        if label is None or pair is None:
            raise ValueError(f'sample {index}: no annotation row has the label of {target!r}')
        predictions.append(Prediction(index, answer_alone(sample['pred']), target, {'label': label, 'labels': [*pair]}))
    numbers = metric.compute(predictions)
    if not numbers['n']:
        raise ValueError('no samples')
    return {'accuracy': numbers['accuracy'], 'failed': numbers['parse_failures'], 'target_failed': 0}


def ids(case: Case) -> Case:
    """Token ids: the texts they stand for, by the metric of the case."""
    by_metric = {
        'RECComputeMetrics': metrics_released.RUNNERS['rec'],
        'GQAComputeMetrics': metrics_released.RUNNERS['gqa'],
        'PointQAComputeMetrics': metrics_released.RUNNERS['pointqa'],
        'ISEKAIMetrics': isekai,
        'ImageNetTest100Metrics': imagenet100,
    }
    return by_metric[case['metric']](metrics_released.decoded(case))


RUNNERS: dict[str, Callable[[Case], Case]] = {
    'isekai': isekai,
    'imagenet100': imagenet100,
    'ids': ids,
    **metrics_released.RUNNERS,
}
SANE: dict[str, Callable[[Case], Case]] = {
    'isekai': sane_isekai,
    'imagenet100': sane_imagenet100,
    **metrics_released.SANE,
}
