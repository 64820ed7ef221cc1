"""From a command line to a resolved, checked config and training arguments; before stage 1.

    file < --cfg-options < typed flags     ->  (Config, TrainingArguments), or one ConfigError with every fault

Each of the three may use old names of training arguments; they are translated before the next one overrides them.

Files are mmengine's Python configs: `_base_`, `_base_.NAME`, `{{$VAR:default}}`, and of the file it stands in
`{{fileDirname}}` and `{{fileBasenameNoExtension}}`. `{{$MLLM_CONFIG_NAME:name}}` is, in bases too, the name (without
.py) of the config that is run: `output_dir='./exp/{{$MLLM_CONFIG_NAME:run}}'`. Top-level UPPER_CASE names are a
catalogue to pick from; they and names with a leading underscore are gone after loading, so that what remains can be
checked for typos.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from mmengine import Config
from mmengine.config import ConfigDict
from mmengine.config.utils import ConfigParsingError
from mmengine.logging import MMLogger

from mllm.config.check import ConfigError, check_config, hint
from mllm.config.command_line import CommandLine, CommandLineParser, parse_command_line
from mllm.config.output_dir import CONFIG_NAME, UNFINISHED_CONFIG, check_output_dir
from mllm.config.overrides import SECTION, Resolved
from mllm.config.text import python_text
from mllm.config.training_args import TrainingArguments

__all__ = [
    'ConfigError',
    'check_output_dir',
    'config_from_command_line',
    'dump_config',
    'load_config',
    'prepare_args',
]

CONFIG_NAME_VARIABLE = 'MLLM_CONFIG_NAME'
FILE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ConfigParsingError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a config file, being Python, may raise while it is read."""


def prepare_args(argv: Sequence[str] | None = None) -> tuple[Config, TrainingArguments]:
    """Config and training arguments of a run, from `argv` (default: this process's command line).

    ConfigError with all faults that can be known before a model or a data file is touched.
    """
    line = parse_command_line(argv)
    run = resolve(line)
    training_args = run.sections.get(SECTION) or {}
    if isinstance(training_args, Mapping) and not training_args.get('output_dir'):
        run.faults.append('training_args.output_dir: missing; set it in the config or give --output_dir FOLDER')
    cfg = run.checked()
    os.environ.update(run.environment)
    try:
        arguments = TrainingArguments(**plain(training_args))
    except (ValueError, TypeError) as error:
        raise ConfigError([f'training_args: {" ".join(str(error).split())}'], line.config) from error
    if arguments.process_index == 0:
        run.warn()
    return cfg, arguments


def config_from_command_line(
    argv: Sequence[str] | None = None, parser: CommandLineParser | None = None
) -> tuple[Config, CommandLine]:
    """The checked config alone, for tools; `parser` may hold options of their own."""
    line = parse_command_line(argv, parser)
    run = resolve(line)
    cfg = run.checked()
    run.warn()
    return cfg, line


def load_config(path: str | os.PathLike[str], cfg_options: Sequence[str] = ()) -> Config:
    """The resolved, checked config of a file, with 'a.b=c' options. ConfigError with all faults."""
    run = resolve(CommandLine(str(path), list(cfg_options), {}, {}, []))
    cfg = run.checked()
    run.warn()
    return cfg


def load_model_args(path: str | os.PathLike[str], cfg_options: Sequence[str] = ()) -> dict[str, Any]:
    """The checked `model_args` of a file that may lack data, and be a model's base alone. ConfigError with all faults."""
    run = Resolved(read_file(str(path)), str(path), [])
    run.take_options(cfg_options)
    sections = {key: run.sections[key] for key in ('custom_imports', 'model_args') if key in run.sections}
    run.faults += check_config({**sections, 'data_args': {}})
    return run.checked().to_dict()['model_args']


def resolve(line: CommandLine) -> Resolved:
    """The config a command line asks for, and all faults. ConfigError if the file cannot be read."""
    faults = list(line.faults)
    try:
        sections = read_file(line.config)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults], line.config) from error
    run = Resolved(sections, line.config, faults)
    run.take_section()
    run.take_options(line.cfg_options)
    run.take_flags(line.flags)
    run.faults += check_config(sections)
    return run


def read_file(path: str) -> dict[str, Any]:
    """The sections of a config file as plain Python data. ConfigError with file and line if it cannot be read."""
    # mmengine reports each environment variable it uses, on stdout.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    os.environ[CONFIG_NAME_VARIABLE] = Path(path).stem
    try:
        cfg = Config.fromfile(path, lazy_import=False, import_custom_modules=False)
    except FILE_ERRORS as error:
        raise ConfigError([describe_file_error(error, path)], path) from error
    finally:
        del os.environ[CONFIG_NAME_VARIABLE]
    sections: ConfigDict = cfg._cfg_dict
    return {
        key: plain(value)
        for key, value in sections.items()
        # What is callable was imported by the file, as `from pathlib import Path`.
        if not (key.isupper() or key.startswith('_') or (callable(value) and not isinstance(value, dict)))
    }


def describe_file_error(error: BaseException, path: str) -> str:
    """'file:line: Kind: message', with the file of the `_base_` chain that was being read."""
    if isinstance(error, FileNotFoundError):
        return f'{path}: there is no such config file' if path in str(error) else f'{path}: {error}'
    cause = error.__context__ if isinstance(error.__context__, SyntaxError) else error
    file, line = last_config_frame(error.__traceback__)
    line = cause.lineno if isinstance(cause, SyntaxError) else line
    message = cause.msg if isinstance(cause, SyntaxError) else str(error)
    if isinstance(error, AttributeError) and isinstance(error.obj, Mapping):
        message = f'there is no {error.name!r}{hint(error.name, error.obj)}'
    return f'{file or path}:{f"{line}:" if line else ""} {type(cause).__name__}: {message}'


def last_config_frame(trace: TracebackType | None) -> tuple[str | None, int | None]:
    """The config file mmengine was reading, and its line if it was running."""
    file, line = None, None
    for frame, number in traceback.walk_tb(trace):
        if frame.f_code.co_name == '_file2dict':
            file, line = frame.f_locals.get('filename'), None
        elif frame.f_code.co_name == '<module>' and frame.f_code.co_filename == file:
            line = number
    return file, line


def plain(value: Any) -> Any:
    """A copy in builtin types, without mmengine's `_delete_` marks; paths become text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if key not in ('_delete_', '_scope_')}
    if isinstance(value, (list, tuple)):
        return type(value)([plain(item) for item in value])
    return str(value) if isinstance(value, PurePath) else value


def dump_config(cfg: Config, training_args: TrainingArguments) -> Path:
    """Write the resolved config to `output_dir/cfg.py` (rank 0 only), whole or not at all; returns its path.

    The file loads to the same config and can be run again. Access tokens are left out.
    """
    path = Path(str(training_args.output_dir), CONFIG_NAME)
    if training_args.process_index != 0:
        return path
    sections = plain(cfg.to_dict())
    arguments = sections.get('training_args') or {}
    sections['training_args'] = {key: value for key, value in arguments.items() if not key.endswith('_token')}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(UNFINISHED_CONFIG)
    unfinished.write_text(f'# The resolved config of a run; it can be run again.\n{python_text(sections)}', 'utf-8')
    unfinished.replace(path)
    return path
