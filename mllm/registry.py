"""Registries by name, so that a config line `type='Name'` finds a class or function.

Built-in modules register themselves when first looked up (`locations`), so importing mllm stays cheap.
A name that does not exist is an error that shows the nearest ones.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class Registry:
    """Maps names to classes or functions. `locations` are imported before the first look-up: modules, and of packages
    (their names end in `.*`) all modules, so that a new one needs no entry anywhere."""

    def __init__(self, name: str, locations: Iterable[str] = ()) -> None:
        self.name = name
        self._pending = list(locations)
        self._entries: dict[str, Any] = {}

    def register_module(self, name: str | None = None) -> Callable[[Any], Any]:
        """Decorator: `@DATASETS.register_module()`, optionally under another name."""

        def decorator(entry: Any) -> Any:
            key = name or entry.__name__
            known = self._entries.get(key)
            if known is not None and (known.__module__, known.__qualname__) != (entry.__module__, entry.__qualname__):
                raise ValueError(
                    f'{self.name}: {key!r} is already registered by {known.__module__}; choose another name'
                )
            self._entries[key] = entry
            return entry

        return decorator

    def names(self) -> list[str]:
        """All registered names, sorted."""
        while self._pending:
            for name in modules_of(self._pending.pop(0)):
                importlib.import_module(name)
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def get(self, name: str) -> Any:
        """The entry called `name`; ValueError with the nearest names if there is none."""
        names = self.names()
        if name not in self._entries:
            raise ValueError(f'{self.name}: there is no {name!r}{nearest(name, names)}')
        return self._entries[name]

    def build(self, cfg: Mapping[str, Any], /, **kwargs: Any) -> Any:
        """Call the entry named by cfg['type'] with the other keys and `kwargs`."""
        if not isinstance(cfg, Mapping) or not isinstance(cfg.get('type'), str):
            raise ValueError(f"{self.name}: expected a dict with type='...', got {cfg!r}")
        arguments = {key: value for key, value in cfg.items() if key != 'type'}
        return self.get(cfg['type'])(**arguments, **kwargs)


def modules_of(location: str) -> list[str]:
    """The modules of a location, see `Registry`."""
    if not location.endswith('.*'):
        return [location]
    package = location.removesuffix('.*')
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [f'{package}.{module.name}' for module in found]


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for an error message: '; did you mean ...?', or the list of what exists."""
    names = sorted(names)
    lower = {key.lower(): key for key in names}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
    if close:
        return '; did you mean ' + ' or '.join(repr(lower[key]) for key in close) + '?'
    return f'; there are: {", ".join(names) or "none"}'


TASKS = 'mllm.dataset.single_image_dataset.*'
"""Each module holds the datasets of a task and their metric."""

DATASETS = Registry('DATASETS', ['mllm.dataset.views', 'mllm.dataset.image_views', 'mllm.dataset.few_shot', TASKS])
POLICIES = Registry('POLICIES', [TASKS])
TRANSFORMS = Registry('TRANSFORMS', ['mllm.dataset.transform'])
FORMATTERS = Registry('FORMATTERS', ['mllm.grounding.formatter'])
TEMPLATES = Registry('TEMPLATES', ['mllm.conversation.templates'])
EPISODE_TEMPLATES = Registry('EPISODE_TEMPLATES', ['mllm.conversation.templates'])
MODELS = Registry('MODELS', [f'mllm.models.{family}.family' for family in ('llava', 'flamingo', 'otter', 'hf_vlm')])
METRICS = Registry('METRICS', ['mllm.metric.*', TASKS])
CONVERTERS = Registry('CONVERTERS', ['mllm.dataset.convert.*'])
