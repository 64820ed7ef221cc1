"""One recorded case against what we give: a list of differences, and what became of the case."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Case = dict[str, Any]
Runner = Callable[[Case], Any]
"""A case -> the value to compare with its `expected`, or a dict of those entries of it that we give."""

REFUSALS = (ValueError, LookupError, FileNotFoundError)
"""What our code raises where it refuses an input; anything else is a crash."""
TOLERANCE = 1e-9
TOLERANCES = {'iou': 1e-5}


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    status   'same' as recorded, 'different', or for known defects of the original: 'sane', equal to the wanted value;
             'defect', where no value is given
    """

    id: str
    status: Literal['same', 'sane', 'defect', 'different']
    differences: list[str] = field(default_factory=list)


def judge(case: Case, run: Runner, run_sane: Runner | None = None) -> Outcome:
    """What became of a case. `run_sane` gives the value for its `sane` entry where that is not the same as `run`'s."""
    found, error = attempt(run, case)
    if 'expected_error' in case:
        differences = [] if error else [f'should be refused ({case["expected_error"]["type"]}), got {found!r:.200}']
    else:
        differences = [f'refused: {error}'] if error else compare(case['expected'], found)
    if not differences:
        return Outcome(case['id'], 'same')
    if 'known_defect' not in case:
        return Outcome(case['id'], 'different', differences)
    if case.get('sane') is None:
        return Outcome(case['id'], 'defect')
    found, error = attempt(run_sane or run, case)
    differences = [f'refused: {error}'] if error else compare(case['sane'], found)
    return Outcome(case['id'], 'different' if differences else 'sane', [f'sane: {line}' for line in differences])


def attempt(run: Runner, case: Case) -> tuple[Any, Exception | None]:
    try:
        return run(case), None
    except REFUSALS as error:
        return None, error


def compare(expected: Any, found: Any, where: str = '') -> list[str]:
    """Differences, a line each; of a dict only the entries that both have count."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        shared = [key for key in expected if key in found]
        if not shared:
            return [f'{where or "case"}: nothing to compare, {list(found)} for {list(expected)}']
        return [line for key in shared for line in compare(expected[key], found[key], f'{where}.{key}'.strip('.'))]
    if equal(expected, found, where.rsplit('.', 1)[-1]):
        return []
    return [
        f'{where or "value"}:',
        f'    expected {expected}',
        f'    found    {found}',
        *first_difference(expected, found),
    ]


def equal(expected: Any, found: Any, name: str) -> bool:
    if isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        same = len(expected) == len(found)
        return same and all(equal(one, other, name) for one, other in zip(expected, found, strict=True))
    if isinstance(expected, float) or isinstance(found, float):
        if expected == 'NaN':
            return math.isnan(found)
        numbers = isinstance(expected, (int, float)) and isinstance(found, (int, float))
        return numbers and math.isclose(expected, found, rel_tol=0, abs_tol=TOLERANCES.get(name, TOLERANCE))
    return type(expected) is type(found) and expected == found


def first_difference(expected: Any, found: Any) -> list[str]:
    """Where two lists part."""
    if not isinstance(expected, list) or not isinstance(found, list):
        return []
    pairs = enumerate(zip(expected, found, strict=False))
    place = next((number for number, (one, other) in pairs if one != other), min(len(expected), len(found)))
    return [f'    from {place} on: {expected[place : place + 8]} / {found[place : place + 8]}']
