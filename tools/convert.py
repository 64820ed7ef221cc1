"""Convert the official files of a dataset to the JSON Lines that its class reads.

python tools/convert.py DATASET --root DIR --out DIR [--split NAME ...] [--set NAME=VALUE ...]

Without --split, every split whose files are below --root. docs/data.md tells for each dataset where to get it, what
lies where, and which options it has. A file appears under its name only when it is complete.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mllm.config.arguments import arguments_of, describe, fits
from mllm.dataset.convert.base import Converter, Summary, convert
from mllm.registry import CONVERTERS, nearest
from mllm.utils.faults import lines_of, stop_on
from mllm.utils.log import console, progress_bar


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('dataset', help=f'one of {", ".join(CONVERTERS.names())}')
    parser.add_argument('--root', type=Path, required=True, help='the folder of the official download')
    parser.add_argument('--out', type=Path, required=True, help='the folder for the JSON Lines')
    parser.add_argument('--split', nargs='+', default=[], metavar='NAME')
    parser.add_argument('--set', nargs='+', default=[], metavar='NAME=VALUE', help='options of this dataset')
    return parser.parse_args(argv)


def make_converter(name: str, root: Path, settings: Sequence[str]) -> Converter:
    """The converter of a dataset with its options. ValueError for a name, an option or a value that does not exist."""
    kind = CONVERTERS.get(name)
    hints = {key: hint for key, hint in arguments_of(kind).hints.items() if key != 'root'}
    options, faults = {}, []
    for setting in settings:
        key, _, text = setting.partition('=')
        value = text if fits(text, hints.get(key)) else read_value(text)
        if key not in hints:
            faults.append(f'--set {setting}: {name} has no option {key!r}{nearest(key, hints)}')
        elif not fits(value, hints[key]):
            faults.append(f'--set {setting}: expected {describe(hints[key])}')
        else:
            options[key] = value
    stop_on(faults)
    return kind(root, **options)


def read_value(text: str) -> Any:
    """A number, a truth value in any case, or another Python literal; what is none is text."""
    try:
        return ast.literal_eval(text.capitalize() if text.lower() in ('true', 'false', 'none') else text)
    except (ValueError, SyntaxError):
        return text


def chosen_splits(converter: Converter, named: Sequence[str]) -> list[str]:
    """The splits to convert. ValueError or FileNotFoundError with everything that is wrong."""
    if not converter.root.is_dir():
        raise FileNotFoundError(f'--root {converter.root}: no such folder')
    unknown = [name for name in named if name not in converter.splits]
    stop_on([f'--split {name}: no such split{nearest(name, converter.splits)}' for name in unknown])
    missing = {split: converter.missing(split) for split in named or converter.splits}
    if named and any(missing.values()):
        gone = [f'--split {split} needs {path}, which is not there' for split in named for path in missing[split]]
        raise FileNotFoundError('\n'.join(gone))
    there = [split for split, gone in missing.items() if not gone]
    if not there:
        needed: dict[str, list[str]] = {}
        for split, gone in missing.items():
            needed.setdefault(', '.join(map(str, gone)), []).append(split)
        wanted = [f'  {files}   for {", ".join(splits)}' for files, splits in needed.items()]
        raise FileNotFoundError('\n'.join([f'--root {converter.root}: no split has its files there. Needed:', *wanted]))
    return there


def summary_table(summaries: Sequence[Summary], out: Path) -> Table:
    table = Table(title=f'Written to {escape(str(out))}, a file SPLIT.jsonl each', title_justify='left')
    table.add_column('split', overflow='fold')
    for heading in ('rows', 'images', 'clipped', 'skipped'):
        table.add_column(heading, justify='right')
    for summary in summaries:
        counts = (summary.rows, summary.images, summary.clipped, summary.skipped.total())
        table.add_row(escape(summary.split), *(f'{count:,}' for count in counts))
    return table


def remarks(summaries: Sequence[Summary]) -> Iterator[str]:
    """Why rows were skipped, most frequent first, and what was written beside the rows."""
    for summary in summaries:
        for reason, count in summary.skipped.most_common():
            yield f'{summary.split}: {count:,} skipped, {reason}'
        for path in summary.files[1:]:
            yield f'{summary.split}: also wrote {path}'


def run(args: argparse.Namespace, out: Console) -> int:
    converter = make_converter(args.dataset, args.root, args.set)
    splits = chosen_splits(converter, args.split)
    summaries, faults = [], []
    with progress_bar(True) as progress:
        for split in splits:
            task = progress.add_task(split, total=None)
            try:
                summary = convert(converter, split, args.out, lambda task=task: progress.advance(task))
            except (ValueError, OSError) as error:
                faults += [f'{split}: {line}' for line in lines_of(error)]
            else:
                summaries.append(summary)
    out.print(summary_table(summaries, args.out))
    for remark in remarks(summaries):
        out.print(remark, soft_wrap=True, markup=False)
    if absent := [split for split in converter.splits if split not in splits]:
        out.print(
            f'Not converted, as their files are not below {args.root}: {", ".join(absent)}',
            soft_wrap=True,
            markup=False,
        )
    if faults:
        sys.stderr.write('\n'.join(faults) + '\n')
    return 2 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        return run(args, console())
    except (ValueError, OSError) as error:
        sys.stderr.write('\n'.join(lines_of(error)) + '\n')
        return 2
    except KeyboardInterrupt:
        sys.stderr.write('interrupted: the file of the split at work was not written, those before it are complete\n')
        return 130


if __name__ == '__main__':
    sys.exit(main())
