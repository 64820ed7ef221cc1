"""What is wrong with data before it is used, in the way in which a person mends it: by file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

PLACE = re.compile(r'((?:(?!: ).)+?):(\d+): (.*)')
"""'file:line: what is wrong'."""


@dataclass
class Fault:
    """One fault. `file` and `line` (0: of no line) say where, `datasets` who reads it.

    `samples` cannot be made because of it; counted for images alone, where many samples may show the same.
    """

    file: str
    line: int
    text: str
    datasets: list[str] = field(default_factory=list)
    samples: int = 0


@dataclass
class FaultGroup:
    """Faults of the same text: `places` as 'file:3,7-9', one for each file."""

    text: str
    places: list[str]
    datasets: list[str]
    samples: int


class FaultList:
    """Faults, each once however many datasets have it."""

    def __init__(self) -> None:
        self.faults: dict[tuple[str, int, str], Fault] = {}

    def __len__(self) -> int:
        return len(self.faults)

    def __iter__(self) -> Iterator[Fault]:
        """By file and line; first what stands in no file."""
        return iter(sorted(self.faults.values(), key=lambda fault: (fault.file, fault.line)))

    def add(self, dataset: str, message: str, where: str = '') -> Fault:
        """Note a message, which may begin with 'file:line: '; else `where` may be a 'file:line'."""
        message = '; '.join(message.splitlines())
        match = PLACE.fullmatch(message) or PLACE.fullmatch(f'{where}: {message}')
        file, line, text = (match[1], int(match[2]), match[3]) if match else ('', 0, with_place(where, message))
        fault = self.faults.setdefault((file, line, text), Fault(file, line, text))
        if dataset not in fault.datasets:
            fault.datasets.append(dataset)
        return fault

    def groups(self) -> list[FaultGroup]:
        """Faults of the same text together, in the order of the first of each."""
        by_text: dict[str, list[Fault]] = {}
        for fault in self:
            by_text.setdefault(fault.text, []).append(fault)
        return [
            FaultGroup(
                text,
                [f'{file}:{ranges(fault.line for fault in found)}' for file, found in by_file(faults)],
                list(dict.fromkeys(name for fault in faults for name in fault.datasets)),
                # Each of them was told of all samples that show the image.
                max(fault.samples for fault in faults),
            )
            for text, faults in by_text.items()
        ]


def with_place(where: str, message: str) -> str:
    return f'{where}: {message}' if where else message


def by_file(faults: Iterable[Fault]) -> Iterator[tuple[str, list[Fault]]]:
    """Faults that stand in a file, which follow one another by file."""
    for file, found in groupby(faults, key=lambda fault: fault.file):
        if file:
            yield file, list(found)


def ranges(numbers: Iterable[int]) -> str:
    """Rising numbers, written short: 1, 2, 3, 7 -> '1-3,7'."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ','.join('-'.join(map(str, run)) for run in runs)
