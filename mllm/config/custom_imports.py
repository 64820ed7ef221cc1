"""Modules of the user's that register datasets, policies, models, ...; loaded before a config is checked."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def import_custom_modules(custom_imports: Any) -> list[str]:
    """Load what `custom_imports = dict(imports=[...])` names; returns faults, one line each.

    An entry is a module name (`my_package.my_dataset`) or the path of a Python file, which needs no PYTHONPATH
    (`'{{fileDirname}}/my_dataset.py'`). With `allow_failed_imports=True` a module that is not there is passed over.
    """
    if not isinstance(custom_imports, Mapping) or not isinstance(custom_imports.get('imports'), list):
        return [f"custom_imports: expected dict(imports=['my_module', 'folder/my_file.py']), got {custom_imports!r}"]
    unknown = sorted(set(custom_imports) - {'imports', 'allow_failed_imports'})
    faults = [f'custom_imports.{key}: unknown key; there are: allow_failed_imports, imports' for key in unknown]
    for number, name in enumerate(custom_imports['imports']):
        try:
            import_one(str(name))
        except ImportError as error:
            if not custom_imports.get('allow_failed_imports'):
                faults.append(f'custom_imports.imports.{number}: {name}: {error}')
        except Exception as error:  # it is the user's code
            faults.append(f'custom_imports.imports.{number}: {name}: {type(error).__name__}: {error}')
    return faults


def import_one(name: str) -> None:
    """Import a module by name, or a file by path (once, however often it is named)."""
    if not name.endswith('.py'):
        importlib.import_module(name)
        return
    path = Path(name).resolve()
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, '__file__', None) == str(path):
        return
    if not path.is_file():
        raise ImportError('there is no such file')
    if known is not None or path.stem in sys.stdlib_module_names:
        raise ImportError(f'another module is called {path.stem!r} already; rename the file')
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError('not a Python file')
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
