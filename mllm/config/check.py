"""Every error of a config at once, before a model or a file is touched; before stage 1.

    sections -> keys -> `type` names in the registry of their position -> arguments of what they name -> simple types

Faults are lines `key.path: what is wrong; did you mean ...?`, with the key path that `--cfg-options` takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from mmengine import Config
from transformers import GenerationConfig

from mllm.config.arguments import Arguments, arguments_of, choices, describe, fits, keys_of
from mllm.config.custom_imports import import_custom_modules
from mllm.config.moved import MOVED
from mllm.config.training_args import training_hints
from mllm.config.training_values import generation_faults, value_faults
from mllm.registry import (
    DATASETS,
    EPISODE_TEMPLATES,
    FORMATTERS,
    METRICS,
    MODELS,
    POLICIES,
    TEMPLATES,
    TRANSFORMS,
    Registry,
    nearest,
)
from mllm.utils.faults import FaultsError

MANY = 20
"""From so many names on, a message shows only those that are near."""

COMPONENTS: dict[str, Registry] = {
    'cfg': DATASETS,
    'cfgs': DATASETS,
    'dataset': DATASETS,
    'datasets': DATASETS,
    'policy': POLICIES,
    'augment': TRANSFORMS,
    'transform': TRANSFORMS,
    'transforms': TRANSFORMS,
    'boxes': FORMATTERS,
    'formatter': FORMATTERS,
    'compute_metric': METRICS,
    'metric': METRICS,
}
"""Under which key, at any depth, a dict (or a list of dicts) with a `type` belongs to which registry."""

NAMES = {'conv_template': TEMPLATES, 'episode_template': EPISODE_TEMPLATES, 'policy': POLICIES}
"""Under which key, at any depth, a text is a name of which registry."""

POLICY_RUNTIME = 4
"""A policy is called (bank, index, shot, rng, **the config's arguments)."""

DATA_SPLITS = ('train', 'validation', 'test')
DATA_HINTS: dict[str, Any] = {
    'train': dict | None,
    'validation': dict | None,
    'test': dict | None,
    'multitest': dict | None,
    'compute_metric': dict | None,
    'augment': dict | None,
    'gen_kwargs': dict | None,
    'on_bad_sample': Literal['raise', 'skip'],
    'decode_side': int | None,
}
MULTITEST_HINTS: dict[str, Any] = {'cfg': dict, 'compute_metric': dict | None}
SECTIONS = ('model_args', 'data_args', 'training_args', 'custom_imports')


class ConfigError(FaultsError):
    """Faults of a config or command line, one line each. Entry scripts print it and exit with status 2."""

    def __init__(self, faults: Sequence[str], source: str = '') -> None:
        super().__init__(faults)
        count = f'{len(self.faults)} faults' if len(self.faults) > 1 else '1 fault'
        self.args = ('\n  '.join([f'{source or "command line"}: {count}', *self.lines]),)


def check_config(cfg: Config | Mapping[str, Any]) -> list[str]:
    """All faults of a loaded config, one line each; empty if it is right."""
    sections = cfg.to_dict() if isinstance(cfg, Config) else dict(cfg)
    for registry in (*COMPONENTS.values(), *NAMES.values(), MODELS):
        registry.names()  # what is built in comes first: a module that takes one of its names is the one at fault
    faults = import_custom_modules(sections['custom_imports']) if sections.get('custom_imports') else []
    return faults + list(dict.fromkeys(ConfigCheck(sections).run()))


def family_faults(family: Any, arguments: Mapping[str, Any], known: Arguments) -> list[str]:
    """What a model family says about its arguments; about those that have a right name and type, if others have not."""
    sound = {key: value for key, value in arguments.items() if key in known.hints and fits(value, known.hints[key])}
    if not set(known.required) <= set(sound):
        return []
    try:
        family.arguments(**sound)
    except ValueError as error:
        return str(error).split('\n')
    return []


def hint(name: object, names: Iterable[str]) -> str:
    """'; did you mean ...?', or what there is if that is short, or nothing."""
    names = list(names)
    text = nearest(str(name), names)
    return '' if len(names) > MANY and text.startswith('; there are') else text


class ConfigCheck:
    """Collects the faults of one config."""

    def __init__(self, sections: dict[str, Any]) -> None:
        self.sections = sections
        self.faults: list[str] = []

    def run(self) -> list[str]:
        for key in self.sections:
            if key not in SECTIONS:
                near = nearest(key, SECTIONS)
                helpers = '' if near.startswith('; did') else '; write helpers of a config file in UPPER_CASE'
                self.faults.append(f'{key}: unknown section{near}{helpers}')
        for section in ('model_args', 'data_args'):
            if section not in self.sections:
                self.faults.append(f'{section}: this section is missing')
        self.plain_data({key: self.sections[key] for key in SECTIONS if key in self.sections}, '')
        self.component(self.sections.get('model_args', {}), MODELS, 'model_args')
        self.data_args(self.sections.get('data_args'))
        self.training_args(self.sections.get('training_args'))
        return self.faults

    def plain_data(self, value: Any, path: str) -> None:
        """Only what can be written to cfg.py and read again."""
        if isinstance(value, dict):
            for key, item in value.items():
                self.plain_data(item, f'{path}.{key}' if path else str(key))
        elif isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                self.plain_data(item, f'{path}.{number}')
        elif not isinstance(value, (bool, int, float, str, type(None))):
            text = "a config holds plain values; name classes and functions by type='Name'"
            self.faults.append(f'{path}: {value!r} is a {type(value).__name__}; {text}')

    def training_args(self, section: Any) -> None:
        if section is None:
            return
        if not isinstance(section, dict):
            self.faults.append(f'training_args: expected a dict, got {section!r}')
            return
        self.values(section, Arguments(training_hints(), ()), 'training_args')
        self.faults += [f'training_args.{fault}' for fault in value_faults(section)]

    def data_args(self, section: Any) -> None:
        if not isinstance(section, dict):
            if 'data_args' in self.sections:
                self.faults.append(f'data_args: expected a dict, got {section!r}')
            return
        self.values(section, Arguments(DATA_HINTS, ()), 'data_args')
        for split in DATA_SPLITS:
            if isinstance(section.get(split), dict):
                self.component(section[split], DATASETS, f'data_args.{split}')
        self.nested({key: section.get(key) for key in ('compute_metric', 'augment')}, 'data_args')
        if isinstance(section.get('gen_kwargs'), dict):
            names = [name for name in vars(GenerationConfig()) if not name.startswith('_')]
            if not self.unknown_keys(section['gen_kwargs'], names, 'data_args.gen_kwargs'):
                self.faults += generation_faults(section['gen_kwargs'])
        multitest = section.get('multitest')
        for name, entry in multitest.items() if isinstance(multitest, dict) else ():
            path = f'data_args.multitest.{name}'
            if not isinstance(entry, dict):
                self.faults.append(f"{path}: expected dict(cfg=dict(type='...'), compute_metric=...), got {entry!r}")
                continue
            self.values(entry, Arguments(MULTITEST_HINTS, ('cfg',)), path)
            self.nested(entry, path)

    def component(self, cfg: Any, registry: Registry, path: str) -> None:
        """A dict with `type`: the type is registered, its arguments exist, none is missing, and types fit."""
        if not isinstance(cfg, dict):
            self.faults.append(f"{path}: expected dict(type='...'), got {cfg!r}")
            return
        arguments = {key: value for key, value in cfg.items() if key != 'type'}
        name = cfg.get('type')
        if 'type' not in cfg:
            wrong = next((key for key in arguments if nearest(str(key), ['type']).startswith('; did')), None)
            self.faults.append(f"{path}: needs 'type'" + (f'; did you write it {wrong!r}?' if wrong else ''))
        elif not isinstance(name, str) or name not in registry:
            self.faults.append(f'{path}.type: there is no {name!r} in {registry.name}{hint(name, registry.names())}')
        else:
            entry = registry.get(name)
            known = arguments_of(
                entry.arguments if registry is MODELS else entry, POLICY_RUNTIME if registry is POLICIES else 0
            )
            self.values(arguments, known, path, name)
            if registry is MODELS:
                self.faults += family_faults(entry, arguments, known)
        self.nested(arguments, path)

    def nested(self, values: Mapping[Any, Any], path: str) -> None:
        """Components and names of entries below the arguments of a component."""
        for key, value in values.items():
            where = f'{path}.{key}'
            if key in NAMES and isinstance(value, str):
                if value not in NAMES[key]:
                    names = hint(value, NAMES[key].names())
                    self.faults.append(f'{where}: there is no {value!r} in {NAMES[key].name}{names}')
            elif key in COMPONENTS and isinstance(value, dict):
                self.component(value, COMPONENTS[key], where)
            elif key in COMPONENTS and isinstance(value, (list, tuple)):
                for number, item in enumerate(value):
                    if isinstance(item, dict):
                        self.component(item, COMPONENTS[key], f'{where}.{number}')
            elif isinstance(value, dict):
                self.nested(value, where)
            elif isinstance(value, (list, tuple)):
                self.nested({number: item for number, item in enumerate(value) if isinstance(item, dict)}, where)

    def values(self, values: Mapping[Any, Any], known: Arguments, path: str, owner: str = '') -> None:
        """Unknown names, missing ones, and values whose type does not fit."""
        near = set() if known.open else self.unknown_keys(values, known.hints, path, owner)
        for name in known.required:
            if name not in values and name not in near:
                self.faults.append(f'{path}: {owner or "an entry"} needs {name!r}')
        for name, value in values.items():
            inner = keys_of(value, known.hints.get(name)) if isinstance(value, dict) else None
            if inner:
                self.values(value, inner, f'{path}.{name}')
            elif name in known.hints and not fits(value, known.hints[name]):
                wanted = known.hints[name]
                near_word = nearest(value, choices(wanted)) if isinstance(value, str) and choices(wanted) else ''
                near_word = near_word if near_word.startswith('; did') else ''
                self.faults.append(f'{path}.{name}: expected {describe(wanted)}, got {value!r}{near_word}')

    def unknown_keys(self, values: Mapping[Any, Any], names: Iterable[str], path: str, owner: str = '') -> set[str]:
        """Report unknown keys; returns the names they were probably meant to be."""
        names = set(names)
        meant: set[str] = set()
        for key in values:
            if key not in names:
                moved = MOVED.get(f'{path}.{key}')
                text = f'; {moved}' if moved else hint(key, names)
                meant |= {name for name in names if text.startswith('; did') and repr(name) in text}
                what = f'{owner} has no argument {key!r}' if owner else 'unknown key'
                self.faults.append(f'{path}.{key}: {what}{text}')
        return meant
