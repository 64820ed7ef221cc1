"""Golden cases of the metrics that Shikra released: boxes, and short answers. Adapters as in `metrics.py`.

The released habits: the target is a whole prompt; a target that cannot be read is counted apart, but stays among those
that accuracy is taken over; no samples are an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mllm.dataset.single_image_dataset.point_qa import PointQAComputeMetrics
from mllm.dataset.single_image_dataset.rec import RECComputeMetrics
from mllm.metric.answer import GQAComputeMetrics
from mllm.metric.grounding import area
from mllm.types import Prediction
from tests.golden.strings import tokenizer

Case = dict[str, Any]


def answer_alone(text: str) -> str:
    """What stands behind the last role marker and before the end mark."""
    return text.split('ASSISTANT:')[-1].split('</s>')[0].strip()


def predictions(case: Case, whole: bool) -> list[Prediction]:
    """The samples of a case, with the `whole` prompt as target or its answer alone."""
    if not case['samples']:
        raise ValueError('no samples')
    return [
        Prediction(n, sample['pred'], sample['target'] if whole else answer_alone(sample['target']))
        for n, sample in enumerate(case['samples'])
    ]


def decoded(case: Case) -> Case:
    """A case of token ids as one of texts; Shikra drops special tokens, LCL keeps them."""
    words = tokenizer(case['folder'])

    def texts(rows: list[list[int]]) -> list[str]:
        ids = [[words.pad_token_id if number < 0 else number for number in row] for row in rows]
        return [words.decode(row, skip_special_tokens=case['source'] == 'shikra') for row in ids]

    samples = case['samples']
    pairs = zip(texts(samples['pred_ids']), texts(samples['label_ids']), strict=True)
    return {**case, 'level': 'strings', 'samples': [{'pred': pred, 'target': target} for pred, target in pairs]}


def boxes(case: Case) -> Case:
    metric, given = RECComputeMetrics(case.get('formatter')), predictions(case, whole=False)
    numbers = metric.compute(given)
    total = numbers['n'] + numbers['target_failures']
    return {
        'accuracy': numbers.get('accuracy', 0.0) * numbers['n'] / total,
        'iou': float('nan') if any(undefined(metric, one) for one in given) else numbers.get('iou', 0.0),
        'failed': numbers['parse_failures'],
        'target_failed': numbers['target_failures'],
    }


def undefined(metric: RECComputeMetrics, prediction: Prediction) -> bool:
    """Whether the original divided by zero: both boxes have no area; one that cannot be read was all zeros."""
    true = metric.true_box(prediction)
    return true is not None and area(true) == 0 and area(metric.extract(prediction) or [0, 0, 0, 0]) == 0


def sane_boxes(case: Case) -> Case:
    numbers = RECComputeMetrics(case.get('formatter')).compute(predictions(case, whole=False))
    return {
        'accuracy': numbers['accuracy'],
        'accuracy_over_parsed': numbers['accuracy'],
        'iou': numbers['iou'],
        'failed': numbers['parse_failures'],
        'target_failed': numbers['target_failures'],
    }


def released(metric: GQAComputeMetrics) -> Callable[[Case], Case]:
    def run(case: Case) -> Case:
        answers = [(metric.legacy(p.pred), metric.legacy(p.target)) for p in predictions(case, whole=True)]
        readable = [(pred, target) for pred, target in answers if target is not None]
        return {
            'accuracy': sum(pred == target for pred, target in readable) / len(answers),
            'failed': sum(pred is None for pred, _ in readable),
            'target_failed': len(answers) - len(readable),
        }

    return run


def sane(metric: GQAComputeMetrics) -> Callable[[Case], Case]:
    def run(case: Case) -> Case:
        numbers = metric.compute(predictions(case, whole=False))
        return {'accuracy': numbers['accuracy'], 'failed': numbers['parse_failures'], 'target_failed': 0}

    return run


RUNNERS = {
    'rec': boxes,
    'gqa': released(GQAComputeMetrics()),
    'pointqa': released(PointQAComputeMetrics()),
}
SANE = {'rec': sane_boxes, 'gqa': sane(GQAComputeMetrics()), 'pointqa': sane(PointQAComputeMetrics())}
