"""From the `compute_metric` entry of a config to the metric of a run, and to the config that can build it again.

A metric that reads places takes a `formatter`: unless its config names one, it is the run's own box format. The config
with it is written beside the predictions, so that a saved file can be scored again without a model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mllm.metric.base import Metric
from mllm.registry import METRICS

FORMATTER = 'formatter'


def metric_config(cfg: Mapping[str, Any], boxes: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config with the box format `boxes` of a run, where the metric takes one and names none."""
    complete = dict(cfg)
    if boxes is not None and FORMATTER in inspect.signature(METRICS.get(cfg['type'])).parameters:
        complete.setdefault(FORMATTER, dict(boxes))
    return complete


def build_metric(cfg: Mapping[str, Any]) -> Metric[Any]:
    """A metric from its complete config."""
    return METRICS.build(cfg)
