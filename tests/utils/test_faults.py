"""Faults are counted, cut off after many, and errors of users' own code say where they were raised."""

import pytest

from mllm.config.check import ConfigError
from mllm.utils.faults import MAX_FAULTS, FaultsError, collect, lines_of, stop_on


def test_faults_are_lines_and_the_last_counts_the_rest():
    stop_on([])
    with pytest.raises(FaultsError) as caught:
        stop_on(['a\nb', *map(str, range(MAX_FAULTS))])
    assert caught.value.lines[:2] == ['a', 'b']
    assert caught.value.lines[-1] == '... and 2 more'
    assert len(caught.value.lines) == MAX_FAULTS + 1
    assert len(lines_of(caught.value)) == MAX_FAULTS + 2


def test_an_error_that_is_no_message_names_its_place():
    try:
        {}['box']
    except KeyError as error:
        (line,) = lines_of(error)
    assert line.startswith("KeyError: 'box' (raised at ")
    assert 'test_faults.py:' in line
    assert lines_of(ValueError('a.jsonl:3: too short\nb')) == ['a.jsonl:3: too short', 'b']


def fail(error: Exception) -> None:
    raise error


def test_all_attempts_are_made_and_one_error_stays_what_it_is():
    assert collect(lambda: 1, lambda: 2) == [1, 2]
    one = OSError('a')
    with pytest.raises(OSError) as caught:
        collect(lambda: 1, lambda: fail(one))
    assert caught.value is one
    with pytest.raises(FaultsError) as caught_all:
        collect(lambda: fail(ValueError('a\nb')), lambda: 1, lambda: fail(ValueError('c')))
    assert caught_all.value.faults == ['a', 'b', 'c']


def test_a_config_error_counts_all_faults_and_shows_the_first():
    error = ConfigError([str(number) for number in range(60)], 'run.py')
    lines = str(error).splitlines()
    assert lines[:2] == ['run.py: 60 faults', '  0']
    assert lines[-1] == '  ... and 10 more'
    assert len(error.faults) == 60
