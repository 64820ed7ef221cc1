"""python -m tests.parity DIR...

Loads weights, inputs and outputs of original model code (state_dict.safetensors, io.safetensors, config.json), imports
the weights through the public import, and prints the largest difference of everything that was computed. Exit status 1
above 1e-4, or where generated ids differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from transformers.utils import logging as hf_logging

from tests.parity import flamingo, llava
from tests.parity.compare import Result

LIMIT = 1e-4
KINDS = (flamingo, llava)
FILES = ('config.json', 'state_dict.safetensors', 'io.safetensors')


def run(folder: Path) -> list[Result]:
    """The comparisons of a folder; ValueError if it is of no kind known here."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f'{folder} has no {", ".join(missing)}')
    sizes = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    for kind in KINDS:
        if kind.is_ours(sizes):
            return list(kind.check(folder))
    raise ValueError(f'{folder}/config.json is of no model known here: neither LLaVA nor Flamingo')


def good(value: float | bool) -> bool:
    return value if isinstance(value, bool) else value <= LIMIT


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.parity', description=(__doc__ or '').split('\n\n')[1])
    parser.add_argument('folders', nargs='+', type=Path, metavar='DIR')
    args = parser.parse_args(argv)
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    console = Console(soft_wrap=True)
    worst, failed = 0.0, []
    for folder in args.folders:
        try:
            results = run(folder)
        except ValueError as error:
            console.print(f'{folder}: {error}', highlight=False, markup=False)
            failed.append(folder.name)
            continue
        table = Table('compared', 'largest difference', title=folder.name, title_justify='left')
        for name, value in results:
            shown = ('equal' if value else 'DIFFERENT') if isinstance(value, bool) else f'{value:.1e}'
            table.add_row(name, shown if good(value) else f'[red]{shown}')
        console.print(table)
        worst = max([worst, *(value for _, value in results if not isinstance(value, bool))])
        failed += [folder.name] * (not all(good(value) for _, value in results))
    console.print(f'largest difference: {worst:.1e} (limit {LIMIT:.0e})', highlight=False)
    if failed:
        console.print(f'not equal to the original: {", ".join(failed)}', highlight=False)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
