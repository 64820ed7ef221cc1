import pytest

from mllm.metric.base import Metric, rate
from mllm.types import Prediction


class Closeness(Metric[int]):
    """Numbers, scored by how near they are: partial credit and parse failures."""

    def extract(self, prediction):
        return int(prediction.pred) if prediction.pred.isdigit() else None

    def score(self, value, prediction):
        return max(0.0, 1 - abs(value - int(prediction.target)) / 10)


PREDICTIONS = [Prediction(7, '5', '5'), Prediction(8, '10', '5'), Prediction(9, 'many', '5')]


def test_rows_keep_order_and_tell_failures_from_zeros():
    assert Closeness().per_sample(PREDICTIONS) == [
        {'index': 7, 'extracted': 5, 'correct': 1.0, 'parsed': True},
        {'index': 8, 'extracted': 10, 'correct': 0.5, 'parsed': True},
        {'index': 9, 'extracted': None, 'correct': 0.0, 'parsed': False},
    ]


def test_compute_is_the_mean_and_failures_count_as_wrong():
    numbers = Closeness().compute(PREDICTIONS)
    assert numbers['accuracy'] == pytest.approx(0.5)
    assert (numbers['n'], numbers['parse_failures']) == (3, 1)


def test_there_are_no_tables_by_default():
    assert Closeness().tables(PREDICTIONS) == {}


def test_rate_groups_by_support_key():
    shared = [Prediction(i, '', '', {'support_key': str(i // 20)}) for i in range(200)]
    alone = [Prediction(i, '', '') for i in range(200)]
    values = [float(i // 20 % 2) for i in range(200)]
    wide, narrow = rate('x', values, shared), rate('x', values, alone)
    assert wide['x'] == narrow['x'] == 0.5
    assert wide['x_ci_high'] - wide['x_ci_low'] > 2 * (narrow['x_ci_high'] - narrow['x_ci_low'])
    assert rate('x', [], []) == {}
