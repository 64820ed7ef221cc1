"""Draw the boxes that a model answered beside the true ones, from the saved predictions of a run.

python tools/show_boxes.py OUTPUT_DIR EVALUATION [EVALUATION ...] --images FOLDER_OR_ZIP [--count 6] [--out boxes.png]

One row of pictures per evaluation whose metric is RECComputeMetrics: samples from all over its file, not chosen by
their result.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mllm.evaluation.report.box_picture import BoxPicture, draw_boxes
from mllm.evaluation.report.files import PREDICTIONS, EvaluationFiles
from mllm.utils.image_io import load_image
from mllm.utils.line_file import LineFile


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('output_dir', type=Path)
    parser.add_argument('evaluations', nargs='+', metavar='EVALUATION', help='e.g. eval, multitest_{name}')
    parser.add_argument('--images', required=True, help="the dataset's image_folder: a folder, zip or tar")
    parser.add_argument('--count', type=int, default=6, help='pictures per evaluation (default 6)')
    parser.add_argument('--out', type=Path, default=Path('boxes.png'), help='default: boxes.png')
    return parser.parse_args(argv)


def pictures(path: Path, images: str, count: int) -> list[BoxPicture]:
    """So many samples of a file of predictions, evenly spread over it. ValueError for one without boxes."""
    if count < 1:
        raise ValueError(f'--count {count}: expected 1 or more')
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file of predictions')
    rows = LineFile(str(path))
    chosen = [rows[number] for number in range(0, len(rows), max(1, len(rows) // count))][:count]
    if not chosen or any('true_box' not in row for row in chosen):
        raise ValueError(f'{path}: no boxes in it; expected predictions that RECComputeMetrics has scored')
    return [picture(row, images) for row in chosen if row['true_box'] is not None]


def picture(row: dict[str, Any], images: str) -> BoxPicture:
    meta = row['meta']
    return BoxPicture(
        image=load_image(meta['image_path'], images),
        question=str(meta.get('expression', '')),
        true=row['true_box'],
        answered=row['extracted'],
        iou=row['iou'],
        right=bool(row['correct']),
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        rows = [
            (
                name.removeprefix('multitest_').replace('_', '\n'),
                pictures(EvaluationFiles(args.output_dir, name).path(PREDICTIONS), args.images, args.count),
            )
            for name in args.evaluations
        ]
    except (ValueError, OSError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    draw_boxes(rows, args.out, 'Answered and true boxes')
    sys.stdout.write(f'{args.out}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
