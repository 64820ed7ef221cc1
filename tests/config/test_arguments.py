"""Signatures along the MRO, and which plain values fit which types."""

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from mllm.config.arguments import arguments_of, choices, describe, fits


class Top:
    def __init__(self, filename: str, limit: int = 3) -> None: ...


class Middle(Top):
    pass


class Bottom(Middle):
    def __init__(self, shot: int, *args: int, limit: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class TakesAll:
    def __init__(self, one: int = 1, **kwargs: Any) -> None: ...


class Kind(Enum):
    A = 'a'
    B = 'b'


def test_kwargs_are_followed_along_the_mro_and_the_subclass_wins():
    known = arguments_of(Bottom)
    assert known.hints == {'shot': int, 'limit': float, 'filename': str}
    assert known.required == ('shot', 'filename')
    assert not known.open
    assert arguments_of(Middle).required == ('filename',)


def test_a_signature_that_takes_everything_is_open():
    assert arguments_of(TakesAll).open
    assert not arguments_of(object).open


def test_functions_skip_what_their_caller_gives():
    def policy(bank: Any, index: int, *, words: int, names: 'Unknown' = 1): ...  # type: ignore[name-defined]  # noqa: F821

    known = arguments_of(policy, skip=2)
    assert known.required == ('words',)
    assert known.hints == {'words': int, 'names': Any}


@pytest.mark.parametrize(
    ('hint', 'good', 'bad'),
    [
        (int, [1, -1], [True, 1.0, '1', None]),
        (float, [1, 0.5], [True, '1', None]),
        (bool, [True], [1, 'true']),
        (str, ['', 'x'], [1, None]),
        (int | None, [1, None], ['1']),
        (Literal['x', 1], ['x', 1], ['y', 2]),
        (Kind, ['a'], ['A', 1]),
        (Kind | str, ['a', 'b'], ['c']),
        (list[int], [[], [1], (1, 2)], ['1', ['1'], 1]),
        (Sequence[str], [['a']], ['a', [1]]),
        (tuple[int, int], [(1, 2), [1, 2]], [(1,), (1, 'a')]),
        (tuple[int, ...], [(), (1, 2, 3)], [('a',)]),
        (dict[str, float], [{}, {'a': 1}], [[], {'a': 'b'}]),
        (Mapping, [{'a': 'b'}], ['a']),
        (Any, [1, None], []),
        (Path, ['x', 1], []),
    ],
)
def test_values_fit_types(hint: Any, good: list[Any], bad: list[Any]):
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []


@pytest.mark.parametrize(
    ('hint', 'words'),
    [
        (int | None, 'int or None'),
        (Kind | str, "'a' or 'b'"),
        (Literal['a'] | None, "'a' or None"),
        (list[int] | dict[str, Any], 'list of int or dict'),
        (Mapping[str, float], 'dict of float'),
    ],
)
def test_types_are_described_in_words(hint: Any, words: str):
    assert describe(hint) == words


def test_choices_are_found_inside_unions():
    assert choices(Kind | str) == ['a', 'b']
    assert choices(int) == []
