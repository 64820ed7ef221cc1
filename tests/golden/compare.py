"""One recorded case against what we give: a list of differences, and what became of the case."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

Case = dict[str, Any]
Runner = Callable[[Case], Any]
"""A case -> the value to compare with its `expected`, or a dict of those entries of it that we give."""

Status = Literal['same', 'sane', 'defect', 'different']

REFUSALS = (ValueError, LookupError, FileNotFoundError)
"""What our code raises where it refuses an input; anything else is a crash."""
TOLERANCE = 1e-9
TOLERANCES = {'iou': 1e-5}


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    status   'same' as recorded, or 'different'; for known defects of the original 'sane', equal to the wanted value, or
             'defect', different where no value is given
    """

    id: str
    status: Status
    differences: list[str] = field(default_factory=list)


def judge(case: Case, run: Runner, run_sane: Runner | None = None) -> Outcome:
    """What became of a case. A known defect is held against its `sane` value where one is given.

    With `run_sane` we have both: it gives the sane value, and `run` must still give what the original did.
    """
    defect, sane = 'known_defect' in case, case.get('sane')
    as_recorded = partial(held_against, case.get('expected'), 'expected_error' in case, run, case)
    if not defect or sane is None:
        differences = as_recorded()
        return Outcome(case['id'], 'defect' if defect and differences else status(differences), differences)
    refusal = isinstance(sane, Mapping) and 'error' in sane
    differences = [f'sane: {line}' for line in held_against(sane, refusal, run_sane or run, case)]
    differences += as_recorded() if run_sane else []
    return Outcome(case['id'], status(differences, 'sane'), differences)


def status(differences: list[str], good: Status = 'same') -> Status:
    return 'different' if differences else good


def held_against(wanted: Any, refusal: bool, run: Runner, case: Case) -> list[str]:
    """Differences of what `run` gives from a wanted value, or from a wanted refusal."""
    found, error = attempt(run, case)
    if refusal:
        return [] if error else [f'should be refused, got {found!r:.200}']
    return [f'refused: {error}'] if error else compare(wanted, found)


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
