"""Show what a run's evaluations found; of those that are named, also the worst classes and pairs of classes.

python tools/show_results.py OUTPUT_DIR [EVALUATION ...] [--rows 10]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mllm.evaluation.report.files import EvaluationFiles, read_results
from mllm.evaluation.report.table import group_table, results_table
from mllm.registry import nearest
from mllm.utils.log import console


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('output_dir', type=Path)
    parser.add_argument('evaluations', nargs='*', metavar='EVALUATION', help='e.g. eval, test, multitest_{name}')
    parser.add_argument('--rows', type=int, default=10, help='rows of each table, the worst first (default 10)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        results = read_results(args.output_dir)
        unknown = [name for name in args.evaluations if name not in results]
        if unknown:
            hints = [f'{args.output_dir} has no evaluation {name!r}{nearest(name, results)}' for name in unknown]
            raise ValueError('\n'.join(hints))
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    console().print(results_table(results))
    for name in args.evaluations:
        for title, rows in EvaluationFiles(args.output_dir, name).read_tables().items():
            console().print(group_table(f'{name}: {title.replace("_", " ")}', rows, args.rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
