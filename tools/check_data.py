"""Read every line, image and sample of the datasets a config names, and list all that is wrong with file and line.

python tools/check_data.py CONFIG [--split train heldout_1 ...] [--workers N] [--json FILE] [--cfg-options a.b=c ...]

Exit status: 0, 1 with faults of the data, 2 where the config is wrong, 130 if interrupted.
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

COLUMNS = (
    *(
        'samples',
        'images',
        'pixels',
        'most\nshots',
        'images\na sample',
        'tokens: min,\nmedian, 95 %, max',
        'limit',
    ),
    *('truncated', 'clipped', 'failed', 'faults'),
)
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
    """ConfigError, ValueError or FileNotFoundError where the config is wrong."""
    cfg = load_config(args.config, args.cfg_options)
    wanted = select_entries(cfg.data_args, args.split)
    seed = (cfg.get('training_args') or {}).get('seed', 42)
    return DataCheck(wanted, cfg.data_args, load_preprocessor(cfg.model_args), seed)


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


def summary_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title='Datasets', title_justify='left')
    table.add_column('dataset', no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify='right', no_wrap=True)
    for row in rows:
        table.add_row(Text(row['dataset']), *cells(row), style='red' if row['faults'] else '')
    return table


def cells(row: Mapping[str, Any]) -> list[str]:
    tokens = row['tokens']
    dropped = f'\n-{row["dropped_supports"]} supports' if row['truncated_samples'] else ''
    return [
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


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        check = open_check(args)
    except (ConfigError, ValueError, FileNotFoundError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    started = time.perf_counter()
    complete = run(check, args.workers)
    rows, faults = check.report()
    seconds = time.perf_counter() - started
    console().print(summary_table(rows))
    groups = faults.groups()
    for fault in groups:
        console().print(fault_line(fault), soft_wrap=True)
    images, total = len(check.files.numbers), len(check) - len(check.files.numbers)
    read = f'{images} image files and {total} samples in {seconds:.1f} s' if complete else 'interrupted; so far'
    console().print(f'{read}: {len(groups) or "no"} fault{"s" * (len(groups) != 1)}')
    if args.json is not None:
        report = {'config': args.config, 'complete': complete, 'datasets': rows, 'faults': list(map(asdict, faults))}
        write_text_atomically(args.json, json.dumps(report, indent=2, ensure_ascii=False) + '\n')
    return INTERRUPTED if not complete else int(len(faults) > 0)


if __name__ == '__main__':
    sys.exit(main())
