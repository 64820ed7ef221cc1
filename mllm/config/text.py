"""A resolved config as Python text that loads to the same config; before stage 1.

mmengine's own dump writes keys such as `from` and values such as inf in ways that do not load again.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from typing import Any

WIDTH = 120
INDENT = ' ' * 4


def python_text(values: Mapping[str, Any]) -> str:
    """One assignment per key, in order. Values are plain Python data."""
    return ''.join(f'{key} = {render(value, used=len(key) + 3)}\n' for key, value in values.items())


def render(value: Any, depth: int = 0, used: int = 0) -> str:
    """`value` on one line if it fits behind the `used` columns that are taken, else an item per line."""
    if not isinstance(value, (Mapping, list, tuple)):
        return scalar(value)
    left, items, right = parts(value)
    # One comma more than needed makes a tuple of one, and is harmless elsewhere.
    comma = ',' if isinstance(value, tuple) and len(items) == 1 else ''
    line = left + ', '.join(name + render(item, used=-WIDTH * 100) for name, item in items) + comma + right
    if len(line) + used <= WIDTH:
        return line
    inner = INDENT * (depth + 1)
    lines = [inner + name + render(item, depth + 1, len(inner + name) + 1) + ',\n' for name, item in items]
    return f'{left}\n{"".join(lines)}{INDENT * depth}{right}'


def parts(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """Opening bracket, (prefix, item) pairs, closing bracket."""
    if isinstance(value, list):
        return '[', [('', item) for item in value], ']'
    if isinstance(value, tuple):
        return '(', [('', item) for item in value], ')'
    if all(map(is_name, value)):
        return 'dict(', [(f'{key}=', item) for key, item in value.items()], ')'
    return '{', [(f'{scalar(key)}: ', item) for key, item in value.items()], '}'


def is_name(key: Any) -> bool:
    """Whether `dict(key=...)` has this very key: Python normalises names beyond ASCII."""
    plain = isinstance(key, str) and key.isascii() and key.isidentifier()
    return plain and not keyword.iskeyword(key) and key != '__debug__'


def scalar(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return repr(value)
