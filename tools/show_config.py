"""Print a config as a run would see it, after all overrides; or all that is wrong with it (exit status 2).

python tools/show_config.py CONFIG [--cfg-options a.b=c ...] [--any_training_argument value ...] [--keys a.b ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.syntax import Syntax

from mllm.config.check import ConfigError, hint
from mllm.config.command_line import CommandLineParser
from mllm.config.config import config_from_command_line
from mllm.config.text import python_text


def pick(sections: Any, key: str) -> Any:
    """The value at 'a.b.0'; ConfigError with the nearest key if there is none."""
    node, done = sections, ''
    for part in key.split('.'):
        names = list(node) if isinstance(node, dict) else [str(number) for number in range(len(node))]
        if part not in names:
            raise ConfigError([f'--keys {key}: {done or "the config"} has no {part!r}{hint(part, names)}'])
        node = node[part] if isinstance(node, dict) else node[int(part)]
        done = f'{done}.{part}'.strip('.')
        if not isinstance(node, (dict, list, tuple)) and done != key:
            raise ConfigError([f'--keys {key}: {done} is {node!r}'])
    return node


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLineParser((__doc__ or '').splitlines()[0])
    parser.add_argument('--keys', nargs='+', default=[], metavar='KEY', help='show these keys only: model_args.type')
    try:
        cfg, line = config_from_command_line(argv, parser)
        sections = cfg.to_dict()
        shown = {key: pick(sections, key) for key in line.others['keys']} or sections
    except ConfigError as error:
        sys.stderr.write(f'{error}\n')
        return 2
    text = python_text(shown)
    if sys.stdout.isatty():
        Console().print(Syntax(text, 'python', background_color='default', word_wrap=True))
    else:
        sys.stdout.write(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
