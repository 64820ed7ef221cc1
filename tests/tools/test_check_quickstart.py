"""The quickstart's figures are checked one by one."""

import copy
from typing import Any

import pytest

from tools.check_quickstart import faults


def figures(accuracy: float, likelihood: float, n: int = 600) -> dict[str, Any]:
    one = {'accuracy': accuracy, 'likelihood_accuracy': likelihood, 'n': n}
    return {shot: dict(one) for shot in ('1', '2', '4')}


GOOD: dict[str, Any] = {
    'lcl': {
        'heldout': figures(0.92, 0.93),
        'invented': figures(0.9, 0.9),
        'permuted': figures(0.92, 0.92),
        'blanked': figures(0.4, 0.5),
    },
    'last_only': {'heldout': figures(0.4, 0.5)},
    'control': {'heldout': figures(0.0, 0.5)},
    'seconds': {'total': 300.0},
    'peak_memory_gb': 2.0,
}


def test_good_figures_pass():
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('lcl', 'heldout', '1', 'accuracy'), 0.84),
        (('lcl', 'heldout', '4', 'accuracy'), 0.89),
        (('lcl', 'invented', '2', 'accuracy'), 0.79),
        (('lcl', 'blanked', '4', 'likelihood_accuracy'), 0.56),
        (('control', 'heldout', '1', 'likelihood_accuracy'), 0.6),
        (('last_only', 'heldout', '2', 'n'), 499),
        (('seconds', 'total'), 481),
        (('peak_memory_gb',), 4.1),
    ],
)
def test_each_bad_figure_is_found(path: tuple[str, ...], value: float):
    summary = copy.deepcopy(GOOD)
    place = summary
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert len(faults(summary)) == 1


def test_a_missing_run_is_found():
    summary = {key: value for key, value in GOOD.items() if key != 'control'}
    assert any('control' in fault for fault in faults(summary))
