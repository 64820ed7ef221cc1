"""Stage 12 of a sample's way, on the terminal: one row per named evaluation, or per group of its samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from mllm.metric.base import TableRow

Labelled = tuple[str, Mapping[str, Any]]
"""What a row is about, and its numbers."""


def results_table(results: Mapping[str, Mapping[str, Any]], title: str = 'Results') -> Table:
    """`results` maps an evaluation's prefix to its prefixed metrics; intervals stand behind their number."""
    rows = [
        (prefix, {key.removeprefix(f'{prefix}_'): value for key, value in metrics.items()})
        for prefix, metrics in results.items()
    ]
    return numbers_table(title, 'evaluation', rows)


def group_table(title: str, rows: Sequence[TableRow], limit: int) -> Table:
    """The first `limit` rows of one of a metric's tables, which begins with the worst."""
    labelled: list[Labelled] = []
    for row in rows[:limit]:
        (_, group), *numbers = row.items()
        labelled.append((' / '.join(group) if isinstance(group, list | tuple) else str(group), dict(numbers)))
    heading = next(iter(rows[0]), '') if rows else ''
    return numbers_table(f'{title} (worst {len(labelled)} of {len(rows)})', heading, labelled)


def numbers_table(title: str, heading: str, rows: Sequence[Labelled]) -> Table:
    """A table of numbers, `n` first, those of any row in the order in which they first stand."""
    table = Table(title=title, title_justify='left')
    table.add_column(heading, no_wrap=True)
    table.add_column('n', justify='right')
    names = measured_names(numbers for _, numbers in rows)
    for name in names:
        table.add_column(name.replace('_', ' '), justify='right')
    for label, numbers in rows:
        table.add_row(escape(label), str(numbers.get('n', '')), *(with_interval(numbers, name) for name in names))
    return table


def measured_names(rows: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Names of the numbers worth a column, in the order in which metrics give them."""
    names: dict[str, None] = {}
    for row in rows:
        for name in row:
            if not name.endswith(('_low', '_high')) and name not in ('n', 'runtime', 'samples_per_second'):
                names[name] = None
    return list(names)


def with_interval(metrics: Mapping[str, Any], name: str) -> str:
    """A number with three decimals and, where there is one, its 95 % interval."""
    value = metrics.get(name)
    if value is None:
        return '-'
    text = f'{value:.3f}' if isinstance(value, float) else str(value)
    low, high = metrics.get(f'{name}_ci_low'), metrics.get(f'{name}_ci_high')
    return text if low is None else f'{text} [{low:.3f}, {high:.3f}]'
