"""Stage 11 of a sample's way, once more: saved predictions -> numbers, without a model; two runs, sample by sample.

{prefix}_extra_prediction.jsonl + {prefix}_metric.json -> the numbers of the run
two such files on the same samples -> the difference of every column the metric gives, with a paired test
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mllm.evaluation.report.files import PREDICTIONS, EvaluationFiles, read_predictions
from mllm.metric.base import Metric, clusters_of
from mllm.metric.builder import build_metric
from mllm.metric.statistics import PairedDifference, paired_difference
from mllm.types import Prediction

TOLERANCE = 1e-9
NO_SCORES = ('index', 'extracted', 'parsed')
"""Columns of a metric's rows that are no scores."""


def files_of(path: Path) -> EvaluationFiles | None:
    """The evaluation that a file of predictions belongs to, None for a file of another name."""
    end = f'_{PREDICTIONS}'
    return EvaluationFiles(path.parent, path.name.removesuffix(end)) if path.name.endswith(end) else None


def metric_cfg(path: Path, named: str | None = None) -> dict[str, Any]:
    """The metric of a file: the one `named` by type or as a JSON object, else the one saved beside it."""
    if named is not None:
        if not named.lstrip().startswith('{'):
            return {'type': named}
        try:
            return json.loads(named)
        except json.JSONDecodeError as error:
            raise ValueError(f'--metric {named}: not JSON ({error.msg}, column {error.colno})') from error
    files = files_of(path)
    saved = files.read_metric() if files else None
    if saved is None:
        raise ValueError(
            f'{path} has no metric beside it (*_metric.json); name the one of its task with --metric, by type or as a '
            'JSON object with its arguments'
        )
    return saved


def rescore(path: Path, cfg: Mapping[str, Any]) -> dict[str, float | int]:
    """The numbers of a metric for the predictions in a file."""
    return build_metric(cfg).compute(read_predictions(path))


def differences(path: Path, numbers: Mapping[str, Any]) -> list[str]:
    """Numbers that are not as the run wrote them beside its predictions, a line each."""
    files = files_of(path)
    saved = files.read_results() if files else {}
    return [
        f'{name}: saved {saved[name]}, now {value}'
        for name, value in numbers.items()
        if name in saved and not math.isclose(saved[name], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    ]


def compare(first: Path, second: Path, cfg: Mapping[str, Any]) -> dict[str, PairedDifference]:
    """First minus second for each column of scores; ValueError unless both answered the same samples."""
    runs = [read_predictions(path) for path in (first, second)]
    check_same_samples(first, second, *runs)
    metric: Metric[Any] = build_metric(cfg)
    rows = [metric.per_sample(predictions) for predictions in runs]
    columns = [name for name in rows[0][0] if name not in NO_SCORES and is_score(rows[0][0][name])]
    found = {}
    for column in columns:
        both = [n for n, pair in enumerate(zip(*rows, strict=True)) if all(is_score(row.get(column)) for row in pair)]
        values, others = ([float(run[n][column]) for n in both] for run in rows)
        found[column] = paired_difference(values, others, clusters_of([runs[0][n] for n in both]))
    return found


def is_score(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def check_same_samples(first: Path, second: Path, one: Sequence[Prediction], other: Sequence[Prediction]) -> None:
    if not one or not other:
        raise ValueError(f'{first if not one else second} has no predictions')
    left, right = ({prediction.index: prediction for prediction in run} for run in (one, other))
    if apart := sorted(left.keys() ^ right.keys()):
        raise ValueError(
            f'{first} and {second} did not answer the same samples: {len(apart)} stand in one alone, such as '
            f'{apart[0]}; compare runs of one evaluation'
        )
    if moved := [index for index in left if left[index].target != right[index].target]:
        raise ValueError(
            f'{first} and {second} asked different questions: the right answers to {len(moved)} samples differ, such '
            f'as sample {moved[0]}: {left[moved[0]].target!r} and {right[moved[0]].target!r}'
        )
    if [prediction.index for prediction in one] != [prediction.index for prediction in other]:
        raise ValueError(f'{first} and {second} have their samples in different orders; sort them by index')
