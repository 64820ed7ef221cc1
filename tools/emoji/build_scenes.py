"""Builds data/emoji_scenes: pictures of several emoji, and six tasks about them (see docs/grounding.md).

    python tools/emoji/build_scenes.py [--out data/emoji_scenes] [--train 12000] [--seed 0]

Stages: scenes.py (draw) -> scene_rows.py (ask). Needs data/emoji only; equal arguments give equal files. For each split
(train, val, test, and test_art in an art style that no other split shows):
    images.zip                    members {split}/{number}.jpg
    rec_{split}.jsonl             all expressions; rec_{kind}_{split}.jsonl those of one kind
    reg_{split}.jsonl, point_qa_{split}.jsonl, choice_{split}.jsonl, caption_{split}.jsonl
    clevr_{split}.jsonl           counting questions, about the scenes in clevr_scenes_{split}.jsonl
No two scenes have the same layout, in one split or in two.
"""

import argparse
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import scene_rows
import scenes
from render import write_archive
from rich.console import Console
from rich.progress import track

SPLITS = {'train': 12000, 'val': 500, 'test': 1000, 'test_art': 500}
QUALITY = 92  # of JPEG


def draw_split(
    split: str, count: int, seed: int, seen: set[object]
) -> Iterator[tuple[scenes.Scene, np.random.Generator]]:
    """So many scenes of layouts that are not in `seen`, each with the generator of its questions."""
    styles = (scenes.UNSEEN_STYLE,) if split == 'test_art' else scenes.STYLES
    art = scenes.read_art(ROOT / 'data' / 'emoji', styles)
    rng = np.random.default_rng([seed, list(SPLITS).index(split)])
    while count:
        scene = scenes.draw_scene(rng, art)
        if scene.layout not in seen:
            seen.add(scene.layout)
            count -= 1
            yield scene, rng


def rows_of(scene: scenes.Scene, path: str, number: int, rng: np.random.Generator) -> dict[str, list[scene_rows.Row]]:
    """All rows about a scene by the name of their file."""
    by_kind = scene_rows.rec_rows(scene, path)
    return {
        'rec': [row for rows in by_kind.values() for row in rows],
        **{f'rec_{kind}': rows for kind, rows in by_kind.items()},
        'reg': scene_rows.reg_rows(scene, path),
        'point_qa': scene_rows.point_qa_rows(scene, path),
        'choice': scene_rows.choice_rows(scene, path, rng),
        'clevr_scenes': [scene_rows.clevr_scene(scene, path, number)],
        'clevr': scene_rows.clevr_rows(scene, path, number, sorted(scenes.NAMES), rng),
        'caption': [scene_rows.caption_row(scene, path, number)],
    }


def build(out: Path, counts: dict[str, int], seed: int, console: Console) -> dict[str, int]:
    """Writes all files into `out`; returns the number of rows of each."""
    files, members, seen = defaultdict(list), {}, set()
    for split, count in counts.items():
        drawn = draw_split(split, count, seed, seen)
        for number, (scene, rng) in enumerate(track(drawn, split, total=count, console=console, transient=True)):
            path = f'{split}/{number:05}.jpg'
            members[path] = encode(scene)
            for name, rows in rows_of(scene, path, number, rng).items():
                files[f'{name}_{split}.jsonl'] += rows
    out.mkdir(parents=True, exist_ok=True)
    write_archive(out / 'images.zip', members)
    for name, rows in files.items():
        lines = (json.dumps(row, separators=(',', ':')) + '\n' for row in rows)
        (out / name).write_text(''.join(lines), encoding='ascii')
    return {name: len(rows) for name, rows in files.items()}


def encode(scene: scenes.Scene) -> bytes:
    buffer = io.BytesIO()
    scene.image.save(buffer, 'JPEG', quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--out', type=Path, default=ROOT / 'data' / 'emoji_scenes', help='default: data/emoji_scenes')
    parser.add_argument('--train', type=int, default=SPLITS['train'], help='number of training scenes')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    console = Console()
    for name, rows in build(args.out, {**SPLITS, 'train': args.train}, args.seed, console).items():
        console.print(f'{args.out / name}: {rows} rows', highlight=False)


if __name__ == '__main__':
    main()
