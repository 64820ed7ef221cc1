"""Before stage 1 of a sample's way: reading pickles of official downloads, which could run code, as data alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

CONTAINERS = {'set': set, 'frozenset': frozenset, 'list': list, 'dict': dict, 'tuple': tuple}
BUILTINS = ('builtins', '__builtin__')
"""The module of containers, of Python 3 and 2."""

DAMAGE = (
    *(pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError),
    *(OverflowError, MemoryError),
)
"""What unpickling raises on bytes that are not what they should be."""


class PickledCodeError(ValueError):
    """A pickle that names something else than a container."""


class PlainUnpickler(pickle.Unpickler):
    """Builds containers, texts and numbers; whatever else a pickle names is refused before it is looked up."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name in BUILTINS and global_name in CONTAINERS:
            return CONTAINERS[global_name]
        raise PickledCodeError(f'{module_name}.{global_name}')


def load_plain_pickle(path: Path) -> Any:
    """The value in a pickle of Python 2 or 3. ValueError, naming the file, if it has code in it or is damaged."""
    with path.open('rb') as file:
        try:
            return PlainUnpickler(file, encoding='latin1').load()
        except PickledCodeError as error:
            raise ValueError(
                f'{path}: refused, it names {error}: a pickle of annotations holds lists, dicts, texts and numbers, '
                'this one could run code; fetch it again from the official site'
            ) from error
        except DAMAGE as error:
            raise ValueError(f'{path}: not a whole pickle ({error or type(error).__name__}); fetch it again') from error
