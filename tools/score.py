"""Score saved predictions again, without a model, and compare two runs.

python tools/score.py PREDICTIONS.jsonl ... [--metric TYPE_OR_JSON]
python tools/score.py PREDICTIONS.jsonl --against OTHER.jsonl [--metric TYPE_OR_JSON]

The metric is the one a run saved beside its predictions (*_metric.json), unless --metric names another. The comparison
is paired: sample by sample, first minus second, with a permutation test.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.table import Table

from mllm.evaluation.report.table import results_table
from mllm.evaluation.rescore import compare, differences, files_of, metric_cfg, rescore
from mllm.metric.statistics import PairedDifference
from mllm.utils.faults import lines_of
from mllm.utils.log import console


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('predictions', type=Path, nargs='+', metavar='PREDICTIONS.jsonl')
    parser.add_argument('--against', type=Path, metavar='OTHER.jsonl', help='compare with this run, sample by sample')
    parser.add_argument('--metric', help="a metric's type, or its config as a JSON object")
    args = parser.parse_args(argv)
    if args.against and len(args.predictions) > 1:
        parser.error('--against compares one file with another; name one before it')
    return args


def score(paths: Sequence[Path], named: str | None) -> int:
    """Print the numbers of each file; 1 if any is not what its run wrote."""
    results, changed = {}, []
    for path in paths:
        numbers = rescore(path, metric_cfg(path, named))
        results[str(path) if len(paths) > 1 else path.name] = numbers
        files = files_of(path)
        if named is None and files and files.read_results():
            changed += [f'{path}: {line}' for line in differences(path, numbers)]
    console().print(results_table(results, 'Scored again'))
    if changed:
        sys.stderr.write('\n'.join(['not as the run wrote it:', *changed]) + '\n')
    return 1 if changed else 0


def comparison_table(found: Mapping[str, PairedDifference]) -> Table:
    table = Table('score', 'difference', 'p', 'better', 'worse', title='First minus second', title_justify='left')
    for name, item in found.items():
        difference = f'{item.mean:+.4f} [{item.low:+.4f}, {item.high:+.4f}]'
        table.add_row(name.replace('_', ' '), difference, f'{item.p_value:.4f}', str(item.better), str(item.worse))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.against is None:
            return score(args.predictions, args.metric)
        (first,) = args.predictions
        cfg = metric_cfg(first, args.metric)
        numbers = {str(path): rescore(path, cfg) for path in (first, args.against)}
        found = compare(first, args.against, cfg)
    except (ValueError, OSError) as error:
        sys.stderr.write('\n'.join(lines_of(error)) + '\n')
        return 2
    console().print(results_table(numbers, 'Scored again'))
    console().print(comparison_table(found))
    return 0


if __name__ == '__main__':
    sys.exit(main())
