"""What is wrong with a user's data, collected: one line a fault, with file and line, and what to do."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

MAX_FAULTS = 50
"""So many faults are listed; more are counted."""


class FaultsError(ValueError):
    """Faults that were found together: `faults` has all, `lines` and the message count those beyond `MAX_FAULTS`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = [line for fault in faults for line in fault.split('\n')]
        more = [f'... and {len(self.faults) - MAX_FAULTS} more'] if len(self.faults) > MAX_FAULTS else []
        self.lines = [*self.faults[:MAX_FAULTS], *more]
        super().__init__('\n'.join(self.lines))


class BadSampleError(ValueError):
    """A sample that cannot be made, in one line that says where it comes from."""


def stop_on(faults: Sequence[str]) -> None:
    """`FaultsError` for all of them, if there are any."""
    if faults:
        raise FaultsError(faults)


def collect(*attempts: Callable[[], Any]) -> list[Any]:
    """What the attempts return. Where one fails its own error; where several fail, FaultsError with all their lines."""
    results, errors = [], []
    for attempt in attempts:
        try:
            results.append(attempt())
        except (ValueError, OSError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    stop_on([line for error in errors for line in lines_of(error)])
    return results


def lines_of(error: Exception) -> list[str]:
    """The lines of an error that users meet; what is no message for users names the place that raised it."""
    if isinstance(error, FaultsError):
        return error.faults
    if isinstance(error, ValueError | OSError):
        return str(error).split('\n')
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return [f'{type(error).__name__}: {error} (raised at {frame.filename}:{frame.lineno}, in {frame.name})']
