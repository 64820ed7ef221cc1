"""A metric that reads places gets the box format of the run, and keeps one of its own."""

import pytest

from mllm.metric.builder import build_metric, metric_config
from mllm.types import Prediction

RUN = {'type': 'PlainBoxFormatter', 'use_small_brackets': True}
OWN = {'type': 'TokenFormatter', 'num_bins': 11}
REC = {'type': 'RECComputeMetrics'}


def test_the_format_of_the_run():
    assert metric_config(REC, RUN) == {**REC, 'formatter': RUN}
    assert metric_config({**REC, 'formatter': OWN}, RUN) == {**REC, 'formatter': OWN}
    assert metric_config(REC, None) == REC
    assert metric_config({'type': 'ExactMatch'}, RUN) == {'type': 'ExactMatch'}


def test_the_config_of_the_user_is_not_changed():
    cfg = dict(REC)
    complete = metric_config(cfg, RUN)
    complete['formatter']['use_small_brackets'] = False
    assert cfg == REC
    assert RUN['use_small_brackets'] is True


@pytest.mark.parametrize(
    ('boxes', 'text'),
    [(RUN, '(0.1,0.1,0.5,0.5)'), (OWN, '<b_st><bin_1> <bin_1> <bin_5> <bin_5><b_ed>'), (None, '[0,0,1,1]')],
)
def test_answers_are_read_in_it(boxes: dict[str, object] | None, text: str):
    metric = build_metric(metric_config(REC, boxes))
    assert metric.compute([Prediction(0, text, text)])['accuracy'] == 1


def test_a_metric_that_does_not_exist():
    with pytest.raises(ValueError, match="no 'RECComputeMetric'; did you mean 'RECComputeMetrics'"):
        metric_config({'type': 'RECComputeMetric'}, RUN)
