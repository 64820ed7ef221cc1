"""Names of parameters and modules by pattern, wherever a config chooses some of them."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern of a shell (`*`, `?`, `[...]`) is the whole name, or is a module that `name` lies below."""
    return fnmatchcase(name, pattern) or name.startswith(f'{pattern}.')
