"""Two processes evaluate as one does: the same rows in the same order, the same numbers; one writes the files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.two_processes import BATCH_SIZES, LENGTH, SKIPPED, evaluate

TIMES = {'two_runtime', 'two_samples_per_second'}
FILES = ('two_extra_prediction.jsonl', 'two_skipped.jsonl', 'two_results.json', 'two_tables.json')
WRITTEN = (*FILES[:2], FILES[0], *FILES[2:])
"""Predictions before the metric sees them, and again with its verdict."""


def test_two_processes(
    write_config: Callable[..., Path], tmp_path: Path, launch_two: Callable[..., Any], read_jsonl: Callable[[Path], Any]
):
    config = write_config("data_args['multitest']['two']['cfg']['episodes_per_class'] = 2")
    one, two = tmp_path / 'one', tmp_path / 'two'
    two.mkdir()
    done = launch_two(Path(__file__).with_name('two_processes.py'), config, two)
    # The last thing that the script does: one rank fails, and the other must not wait for it for ever.
    assert done.returncode != 0
    assert 'RuntimeError: planned: rank 1 fails' in done.stderr, done.stdout + done.stderr
    assert not list(two.glob('failing/*/*'))
    expected = evaluate(config, one)
    ranks = [json.loads((two / f'rank{number}.json').read_text()) for number in range(2)]
    assert [rank['world_size'] for rank in ranks] == [2, 2]
    assert ranks[0]['written'] == expected['written'] == [f'{size}/{name}' for size in BATCH_SIZES for name in WRITTEN]
    assert ranks[1]['written'] == []
    for size in BATCH_SIZES:
        check_rows(*(read_jsonl(folder / str(size) / FILES[0]) for folder in (one, two)))
        assert [row['index'] for row in read_jsonl(two / str(size) / FILES[1])] == [SKIPPED]
        for rank in ranks:
            check_metrics(expected['metrics'][size], rank['metrics'][str(size)])
        check_metrics(expected['metrics'][size], json.loads((two / str(size) / FILES[2]).read_text()))


def check_rows(expected: list[Any], rows: list[Any]) -> None:
    assert [row['index'] for row in rows] == [index for index in range(LENGTH) if index != SKIPPED]
    for one, other in zip(expected, rows, strict=True):
        assert one.pop('score') == pytest.approx(other.pop('score'), abs=1e-5)
        assert one == other


def check_metrics(expected: dict[str, float], metrics: dict[str, float]) -> None:
    assert metrics.keys() == expected.keys()
    assert (metrics['two_n'], metrics['two_skipped']) == (LENGTH - 1, 1)
    for key in metrics.keys() - TIMES:
        assert metrics[key] == pytest.approx(expected[key], abs=1e-5), key
