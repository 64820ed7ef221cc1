"""Faults are counted, cut off after many, and errors of users' own code say where they were raised."""

import pytest

from mllm.utils.faults import MAX_FAULTS, FaultsError, lines_of, stop_on


def test_faults_are_lines_and_the_last_counts_the_rest():
    stop_on([])
    with pytest.raises(FaultsError) as caught:
        stop_on(['a\nb', *map(str, range(MAX_FAULTS))])
    assert caught.value.lines[:2] == ['a', 'b']
    assert caught.value.lines[-1] == '... and 2 more'
    assert len(caught.value.lines) == MAX_FAULTS + 1
    assert lines_of(caught.value) == caught.value.lines


def test_an_error_that_is_no_message_names_its_place():
    try:
        {}['box']
    except KeyError as error:
        (line,) = lines_of(error)
    assert line.startswith("KeyError: 'box' (raised at ")
    assert 'test_faults.py:' in line
    assert lines_of(ValueError('a.jsonl:3: too short\nb')) == ['a.jsonl:3: too short', 'b']
