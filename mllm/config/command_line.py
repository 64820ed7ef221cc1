"""The command line: CONFIG, `--cfg-options`, and every training argument as a flag; before stage 1.

All faults are collected, and only flags that were typed are returned: defaults never override a config.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn

from mmengine.config import DictAction
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from mllm.config.arguments import choices
from mllm.config.check import ConfigError, hint
from mllm.config.renamed import REMOVED
from mllm.config.training_args import TrainingArguments, training_hints

NOT_TYPED = object()


class CommandLineParser(HfArgumentParser):
    """The flags of `TrainingArguments` and their old names, CONFIG and `--cfg-options`.

    Wrong use raises instead of leaving Python.
    """

    def __init__(self, description: str | None = None) -> None:
        super().__init__(
            [TrainingArguments],  # type: ignore[arg-type]
            description=description,
            usage='%(prog)s CONFIG [--cfg-options KEY=VALUE ...] [--TRAINING_ARGUMENT VALUE ...]',
            allow_abbrev=False,
            exit_on_error=False,
        )
        self.add_argument('config', metavar='CONFIG', help='config file (Python)')
        self.add_argument(
            '--cfg-options',
            '--cfg_options',
            nargs='+',
            action='extend',
            default=[],
            metavar='KEY=VALUE',
            help='override config values: model_args.type=llava data_args.train.cfgs.0.portion=0.5 a.b="[1, 2]" ...',
        )
        for name, entry in REMOVED.items():
            flags = list(dict.fromkeys([f'--{name}', f'--{name.replace("_", "-")}']))
            if entry.kind is bool:
                self.add_argument(*flags, type=string_to_bool, nargs='?', const=True, help=argparse.SUPPRESS)
            else:
                self.add_argument(*flags, type=entry.kind, help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        raise ConfigError([message])


@dataclass(frozen=True)
class CommandLine:
    """What was typed. `flags` may have old names; `others` holds the options a tool added to the parser itself."""

    config: str
    cfg_options: list[str]
    flags: dict[str, Any]
    others: dict[str, Any]
    faults: list[str]


def parse_command_line(argv: Sequence[str] | None = None, parser: CommandLineParser | None = None) -> CommandLine:
    """Parse `argv` (default: this process's). ConfigError if no config is named; other faults are collected."""
    parser = parser or CommandLineParser()
    fields = list(training_hints())
    names = [*fields, *REMOVED]
    namespace, unknown, faults = parse_all(parser, list(sys.argv[1:] if argv is None else argv), names)
    values = vars(namespace)
    typed = {name: values.pop(name) for name in names}
    flags = {name: plain_value(value) for name, value in typed.items() if value is not NOT_TYPED}
    config, cfg_options = values.pop('config'), values.pop('cfg_options')
    faults += unknown_faults(unknown, [*fields, 'cfg-options', *values])
    values = {name: value for name, value in values.items() if value is not NOT_TYPED}
    return CommandLine(config, cfg_options, flags, values, faults)


def parse_all(
    parser: CommandLineParser, argv: list[str], fields: Sequence[str]
) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Namespace, unknown tokens, and faults: after a value that is wrong, parsing goes on without that flag."""
    faults: list[str] = []
    while True:
        # Values that are there already keep argparse from filling in its defaults.
        namespace = argparse.Namespace(**dict.fromkeys(fields, NOT_TYPED))
        try:
            return (*parser.parse_known_args(argv, namespace), faults)
        except argparse.ArgumentError as error:
            names = (error.argument_name or '').split('/')
            faults.append(value_fault(names[0], error.message))
            shorter = without_flag(argv, names)
            if shorter == argv:
                raise ConfigError(faults) from error
            argv = shorter
        except ConfigError as error:
            raise ConfigError([*faults, *error.faults]) from error


def value_fault(flag: str, message: str) -> str:
    """What argparse says about a value, or the nearest choices instead of all."""
    if not message.startswith('invalid choice: '):
        return f'{flag}: {message}'
    value = message.split("'")[1]
    return f'{flag}: there is no {value!r}{hint(value, choices(training_hints()[flag.lstrip("-")]))}'


def without_flag(argv: Sequence[str], names: Sequence[str]) -> list[str]:
    """`argv` without a flag, which may be spelt in several ways, and its values."""
    kept: list[str] = []
    dropping = False
    for token in argv:
        if token.startswith('--'):
            dropping = token.split('=', 1)[0] in names
        if not dropping:
            kept.append(token)
    return kept


def unknown_faults(tokens: Sequence[str], names: Sequence[str]) -> list[str]:
    """One line per flag that does not exist; words behind it are taken for its values."""
    faults: list[str] = []
    seen_flag = False
    for token in tokens:
        if token.startswith('-'):
            seen_flag = True
            faults.append(unknown_flag(token.split('=', 1)[0], names))
        elif not seen_flag:
            faults.append(f'{token!r} belongs to no flag')
    return faults


def unknown_flag(flag: str, names: Sequence[str]) -> str:
    name = flag.lstrip('-').replace('-', '_')
    near = hint(name, [f'--{name}' for name in names])
    return f'{flag}: unknown flag{near.replace(chr(39), "")}'


def plain_value(value: Any) -> Any:
    """A parsed flag as it would stand in a config: no enums, no paths."""
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, PurePath) else value


def parse_option(option: str) -> tuple[str, Any]:
    """'a.b=value' -> ('a.b', value).

    A value is Python where it can be read as such, else true / false, else a list of bare words ('[a,b]', 'a,b'),
    else the text as it is. Text with commas and blanks stays one text. ValueError if there is no '='.
    """
    key, equals, text = option.partition('=')
    if not equals or not all(key.split('.')):
        raise ValueError(f'--cfg-options {option}: expected KEY=VALUE with a key like data_args.train.shot')
    if text.lower() in ('true', 'false'):
        return key, text.lower() == 'true'
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return key, parse_words(key, text)
    # 1,2,3 is a list, as in mmengine; (1,2,3) is a tuple.
    return key, list(value) if isinstance(value, tuple) and not text.startswith('(') else value


def parse_words(key: str, text: str) -> Any:
    """A list of bare words as mmengine reads it, or `text` itself."""
    bracketed = text[:1] + text[-1:] in ('[]', '()')
    if not bracketed and (',' not in text or ' ' in text):
        return text
    if bracketed and not set(text[1:-1]) & set('[](){}'):
        # mmengine would take the blanks out of the words.
        words = [word.strip() for word in text[1:-1].split(',')]
        return [parse_option(f'{key}={word}')[1] for word in words if word]
    namespace = argparse.Namespace()
    try:
        DictAction(['--cfg-options'], 'options', nargs='+')(argparse.ArgumentParser(), namespace, [f'{key}={text}'])
    except AssertionError as error:
        raise ValueError(f'--cfg-options {key}={text}: brackets do not match') from error
    return namespace.options[key]
