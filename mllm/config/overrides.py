"""File, --cfg-options and typed flags laid over each other, old names translated on the way; before stage 1."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine import Config

from mllm.config.check import ConfigError
from mllm.config.command_line import parse_option
from mllm.config.renamed import Translation, translate

logger = logging.getLogger(__name__)

SECTION = 'training_args'


@dataclass
class Resolved:
    """What a command line asks for: the sections of its config, and what there is to say about them.

    environment  variables that training arguments of old names have become
    warnings     one for each such name
    """

    sections: dict[str, Any]
    filename: str
    faults: list[str]
    warnings: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def checked(self) -> Config:
        """The config; ConfigError if there are faults."""
        if self.faults:
            raise ConfigError(self.faults, self.filename)
        return Config(self.sections, filename=self.filename)

    def warn(self) -> None:
        for warning in self.warnings:
            logger.warning(warning)

    def set(self, key: str, value: Any, origin: str) -> None:
        """Set 'a.b.0.c'; a way that is blocked is a fault of `origin`."""
        try:
            set_option(self.sections, key, value)
        except ValueError as error:
            self.faults.append(f'{origin}: {error}')

    def take(self, translation: Translation, origin: str) -> None:
        """What old names have become."""
        self.faults += translation.faults
        self.warnings += translation.warnings
        for name, value in translation.new.items():
            if name.isupper():
                self.environment[name] = value
            else:
                self.set(f'{SECTION}.{name}', value, origin)

    def take_section(self) -> None:
        """Translate old names in the training arguments as they stand."""
        if isinstance(self.sections.get(SECTION), dict):
            translation = translate(self.sections[SECTION], f'{SECTION}.')
            self.sections[SECTION] = translation.kept
            self.take(translation, self.filename)

    def take_options(self, options: Sequence[str]) -> None:
        """'a.b=c' each; a value replaces what was there."""
        values: dict[str, Any] = {}
        for option in options:
            try:
                key, value = parse_option(option)
            except ValueError as error:
                self.faults.append(str(error))
                continue
            if key.startswith(f'{SECTION}.'):
                values[key.removeprefix(f'{SECTION}.')] = value
            else:
                self.set(key, value, f'--cfg-options {key}')
        self.take_section()  # which an option may have set as a whole
        translation = translate(values, f'--cfg-options {SECTION}.')
        for name, value in translation.kept.items():
            self.set(f'{SECTION}.{name}', value, f'--cfg-options {SECTION}.{name}')
        self.take(translation, '--cfg-options')

    def take_flags(self, flags: Mapping[str, Any]) -> None:
        """Typed flags are training arguments."""
        if flags and self.sections.get(SECTION) is None:
            self.sections[SECTION] = {}
        if isinstance(self.sections.get(SECTION), dict):
            translation = translate(flags, '--')
            self.sections[SECTION].update(translation.kept)
            self.take(translation, 'command line')


def set_option(sections: dict[str, Any], key: str, value: Any) -> None:
    """Set 'a.b.0.c'. Missing dicts are made; a value replaces what was there. ValueError if the way is blocked."""
    *parents, last = key.split('.')
    node: Any = sections
    for number, part in enumerate(parents):
        where = '.'.join(parents[:number]) or 'the config'
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = node[position(node, part, where)]
    node[position(node, last, '.'.join(parents) or 'the config')] = value


def position(node: Any, part: str, where: str) -> str | int:
    """The key or index `part` means in `node`."""
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise ValueError(f'{where} is {node!r}, which has no {part!r}')
    if not part.isdecimal() or int(part) >= len(node):
        raise ValueError(f'{where} is a list with {len(node)} items; give an index below that, not {part!r}')
    return int(part)
