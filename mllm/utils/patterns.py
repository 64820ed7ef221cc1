"""Names of parameters and modules by pattern, wherever a config chooses some of them."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern of a shell (`*`, `?`, `[...]`) fits the whole name, or a module that `name` lies below."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f'{pattern}.*')
