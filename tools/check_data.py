"""Read every line, image and sample of the datasets a config names, and list all that is wrong with file and line.

python tools/check_data.py CONFIG [--split train heldout_1 ...] [--workers N] [--json FILE] [--cfg-options a.b=c ...]

Exit status: 0, 1 with faults of the data, 2 where the config or an argument is wrong, 130 if interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mllm.config.check import ConfigError
from mllm.config.config import load_config
from mllm.dataset.builder import select_entries
from mllm.dataset.check import DataCheck
from mllm.dataset.faults import FaultGroup
from mllm.models.builder import load_preprocessor
from mllm.utils.files import write_text_atomically
from mllm.utils.log import console, progress_bar

TOKENS = 'tokens: min,\nmedian, 95 %, max'
COLUMNS = (
    ('samples', 'images', 'pixels', 'most\nshots', 'images\na sample'),
    (TOKENS, 'limit', 'truncated', 'clipped', 'failed', 'faults'),
)
"""Headings, in the two parts in which a narrow terminal shows them."""
MEASURED_WIDTH = 1000
"""Wider than any table: by itself an output measures nothing wider than it is."""
NAMES = 3
"""So many datasets are named behind a fault."""
INTERRUPTED = 130


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--split', nargs='+', default=[], help='only these: train, validation, test, a multitest')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='processes that read (default: cores)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all numbers and faults there too')
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE')
    return parser.parse_args(argv)


def open_check(args: argparse.Namespace) -> DataCheck:
    """ConfigError, ValueError or FileNotFoundError where the config or an argument is wrong."""
    if args.workers < 0:
        raise ValueError(f'--workers {args.workers}: expected 0 (reads in this process) or more')
    cfg = load_config(args.config, args.cfg_options)
    wanted = select_entries(cfg.data_args, args.split)
    if args.json is not None:
        check_place(args.json)
    seed = (cfg.get('training_args') or {}).get('seed', 42)
    return DataCheck(wanted, cfg.data_args, load_preprocessor(cfg.model_args), seed)


def check_place(path: Path) -> None:
    """ValueError unless a file can be written there: asked before a check that may take hours."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        reason = 'it is a folder' if path.is_dir() else '' if os.access(path.parent, os.W_OK) else 'Permission denied'
    except OSError as error:
        reason = error.strerror
    if reason:
        raise ValueError(f'--json {path}: cannot be written ({reason}); name a file in a folder of your own')


def run(check: DataCheck, workers: int) -> bool:
    """Whether all was read; False if the user has stopped it."""
    try:
        with progress_bar() as progress:
            task = progress.add_task('images', total=len(check))
            for what, count in check.run(workers):
                progress.update(task, description=what, advance=count)
    except KeyboardInterrupt:
        return False
    return True


def summary_tables(rows: Sequence[Mapping[str, Any]], output: Console) -> list[Table]:
    """One row per dataset; in two tables where one is wider than the output."""
    whole = summary_table(rows, [*COLUMNS[0], *COLUMNS[1]])
    needed = output.measure(whole, options=output.options.update(width=MEASURED_WIDTH)).maximum
    if needed <= output.width:
        return [whole]
    return [summary_table(rows, names) for names in COLUMNS]


def summary_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    table = Table(title='Datasets', title_justify='left')
    table.add_column('dataset', overflow='fold')
    for name in names:
        table.add_column(name, justify='right', overflow='fold')
    for row in rows:
        shown = cells(row)
        table.add_row(Text(row['dataset']), *(shown[name] for name in names), style='red' if row['faults'] else '')
    return table


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a dataset's row by heading."""
    tokens = row['tokens']
    dropped = f'\n-{row["dropped_supports"]} supports' if row['truncated_samples'] else ''
    texts = [
        str(row['samples']),
        str(row['images']),
        f'{span(row["width"])} x {span(row["height"])}' if row['width'] else '-',
        '-' if row['most_shots'] is None else str(row['most_shots']),
        span(row['images_per_sample']),
        ' '.join(str(value) for value in tokens.values()) if tokens else '-',
        str(row['limit'] or '-'),
        f'{row["truncated_samples"]}{dropped}',
        *(str(row[name]) for name in ('clipped_boxes', 'failed_samples', 'faults')),
    ]
    return dict(zip([*COLUMNS[0], *COLUMNS[1]], texts, strict=True))


def span(values: Sequence[int] | None) -> str:
    """[3, 5] -> '3-5'."""
    return '-' if values is None else '-'.join(str(value) for value in dict.fromkeys(values))


def fault_line(fault: FaultGroup) -> Text:
    """'file:line: what is wrong', how many samples it spoils, and who reads it."""
    line = Text(': '.join([', '.join(fault.places), fault.text] if fault.places else [fault.text]))
    if fault.samples:
        line.append(f' ({fault.samples} samples cannot be made)')
    names, more = fault.datasets[:NAMES], len(fault.datasets) - NAMES
    return line.append(f' [{", ".join(names)}{f" and {more} more" if more > 0 else ""}]', 'bright_black')


def truncation(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is no fault, but hardly ever meant: samples that reach the model with fewer supports than were drawn."""
    truncated, samples = (sum(row[key] for row in rows) for key in ('truncated_samples', 'samples'))
    if not truncated:
        return ''
    return f'; {truncated} of {samples} samples lost supports: raise model_args.model_max_length or lower shot'


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        check = open_check(args)
    except (ConfigError, ValueError, FileNotFoundError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    started = time.perf_counter()
    complete = run(check, args.workers)
    rows, faults = check.report()
    seconds = time.perf_counter() - started
    for table in summary_tables(rows, console()):
        console().print(table)
    groups = faults.groups()
    for fault in groups:
        console().print(fault_line(fault), soft_wrap=True)
    images, total = len(check.files.numbers), len(check) - len(check.files.numbers)
    read = f'{images} image files and {total} samples in {seconds:.1f} s' if complete else 'interrupted; so far'
    console().print(f'{read}: {len(groups) or "no"} fault{"s" * (len(groups) != 1)}{truncation(rows)}', soft_wrap=True)
    if args.json is not None:
        report = {'config': args.config, 'complete': complete, 'datasets': rows, 'faults': list(map(asdict, faults))}
        write_text_atomically(args.json, json.dumps(report, indent=2, ensure_ascii=False) + '\n')
    return INTERRUPTED if not complete else int(len(faults) > 0)


if __name__ == '__main__':
    sys.exit(main())
