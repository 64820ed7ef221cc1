"""Stage 12 of a sample's way, on the terminal: one row per named evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table


def results_table(results: Mapping[str, Mapping[str, Any]], title: str = 'Results') -> Table:
    """`results` maps an evaluation's prefix to its prefixed metrics; intervals stand behind their number."""
    table = Table(title=title, title_justify='left')
    table.add_column('evaluation', no_wrap=True)
    table.add_column('n', justify='right')
    names = measured_names(results)
    for name in names:
        table.add_column(name.replace('_', ' '), justify='right')
    for prefix, metrics in results.items():
        plain = {key.removeprefix(f'{prefix}_'): value for key, value in metrics.items()}
        table.add_row(prefix, str(plain.get('n', '')), *(with_interval(plain, name) for name in names))
    return table


def measured_names(results: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Names of the numbers worth a column, in the order in which metrics give them."""
    names: dict[str, None] = {}
    for prefix, metrics in results.items():
        for key in metrics:
            name = key.removeprefix(f'{prefix}_')
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
