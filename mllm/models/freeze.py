"""Stage 9 of a sample's way, before training: which parameters learn, by name pattern, and a table of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from io import StringIO

from rich.console import Console
from rich.table import Table
from torch import nn

from mllm.registry import nearest


def apply_freeze(model: nn.Module, freeze: Sequence[str], tune: Sequence[str]) -> None:
    """Parameters that match a pattern of `freeze` do not learn, unless they match one of `tune`.

    Patterns are those of a shell (`*`, `?`, `[...]`) over whole parameter names, or a module's name, which means all
    below it. ValueError that lists the patterns that match nothing, with the nearest names.
    """
    names = [name for name, _ in model.named_parameters()]
    modules = [name for name, _ in model.named_modules() if name]
    unmatched = [
        f'{pattern!r} matches no parameter{nearest(pattern, [*modules, *names])}'
        for pattern in (*freeze, *tune)
        if not any(matches(name, pattern) for name in names)
    ]
    if unmatched:
        raise ValueError('freeze and tune: ' + '; '.join(unmatched))
    for name, parameter in model.named_parameters():
        frozen = any(matches(name, pattern) for pattern in freeze)
        tuned = any(matches(name, pattern) for pattern in tune)
        parameter.requires_grad_(tuned or not frozen)


def matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(f'{pattern}.')


def trainable_table(model: nn.Module) -> str:
    """A table as text: parameters in all and those that learn, for each part of the model."""
    total: Counter[str] = Counter()
    learning: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        part = '.'.join(name.removeprefix('model.').split('.')[:2])
        total[part] += parameter.numel()
        learning[part] += parameter.numel() if parameter.requires_grad else 0
    table = Table('part', title='trainable parameters', title_justify='left')
    table.add_column('parameters', justify='right')
    table.add_column('trainable', justify='right')
    for part, count in total.items():
        table.add_row(part, f'{count:,}', f'{learning[part]:,}')
    table.add_section()
    table.add_row('all', f'{total.total():,}', f'{learning.total():,}')
    text = StringIO()
    Console(file=text, width=100).print(table)
    return text.getvalue()
