"""Builds data/emoji, the small ISEKAI of our own: ordinary emoji as concepts, invented ones, and their questions.

    python tools/emoji/build.py            # fetch pinned npm packages, build data/emoji
    python tools/emoji/build.py --check    # build again and compare with data/emoji: pixels and rows must be equal

Stages: packages.py (fetch, verify, match) -> concepts.py (select, split) -> render.py (PNG, zip) -> invent.py.
Files: images.zip with members {family}/{style}/{slug}.png, train_pairs.jsonl, val_pairs.jsonl, test_pairs.jsonl (the
ImageNet-900 pair format), invented.jsonl and invented_real_name.jsonl (ISEKAI rows). Concepts of the three splits are
disjoint and neighbours share the split.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import concepts as concepts_stage
import invent
import numpy as np
import packages
import render
from concepts import Concept

SEED = 0
OUT = Path(__file__).resolve().parents[2] / 'data' / 'emoji'
SPLITS = ('train', 'val', 'test')


def load_concepts(folder: Path) -> list[Concept]:
    """All concepts with their art, from verified packages."""
    entries = packages.read_entries(folder)
    sets = {style: packages.read_icon_set(folder, package) for style, package in packages.STYLES.items()}
    return concepts_stage.select(entries, packages.match(entries, sets))


def draw(concepts: list[Concept]) -> tuple[dict[str, list[str]], dict[str, bytes], list[str]]:
    """Archive paths by concept name, PNG by path, and a line for every drawing that was left out.

    Left out are blank drawings, and those that two concepts share pixel by pixel: they tell neither from the other.
    """
    pictures, twins = {}, defaultdict(list)
    for concept in concepts:
        for family, style in sorted(concept.art):
            path = f'{family}/{style}/{concept.slug}.png'
            pictures[path] = render.rasterise(concept.art[family, style])
            twins[family, style, pictures[path].tobytes()].append(path)
    dropped = {path: 'blank' for path, image in pictures.items() if render.is_blank(image)}
    for paths in twins.values():
        if len(paths) > 1:
            dropped |= {path: 'the same picture as ' + ', '.join(sorted(set(paths) - {path})) for path in paths}
    samples = {
        concept.name: [
            path
            for family, style in sorted(concept.art)
            if (path := f'{family}/{style}/{concept.slug}.png') not in dropped
        ]
        for concept in concepts
    }
    members = {path: render.encode(image) for path, image in pictures.items() if path not in dropped}
    return samples, members, [f'{path} ({why})' for path, why in dropped.items()]


def pair_rows(members: list[Concept], ids: dict[str, str], samples: dict[str, list[str]], seed: str) -> list[dict]:
    """One split in ImageNet-900 pair format."""
    rng = random.Random(seed)
    rows = []
    for concept in members:
        near = concepts_stage.neighbors(concept, members, rng)
        rows.append(
            {
                'class_id': ids[concept.name],
                'class_name': concept.name,
                'samples': samples[concept.name],
                'neighbors': [[ids[other.name], other.name, rng.choice(samples[other.name])] for other in near],
            }
        )
    return rows


def build(package_folder: Path, out: Path) -> list[str]:
    """Writes all files of data/emoji into ``out``; returns the lines of the summary."""
    concepts = load_concepts(package_folder)
    samples, members, dropped = draw(concepts)
    concepts = [c for c in concepts if len({p.split('/')[0] for p in samples[c.name]}) >= concepts_stage.MIN_FAMILIES]
    kept = {path for concept in concepts for path in samples[concept.name]}
    members = {path: png for path, png in members.items() if path in kept}
    ids = {concept.name: str(number) for number, concept in enumerate(concepts, start=1)}
    splits = concepts_stage.split(concepts, samples, SEED)
    rows = {name: pair_rows(splits[name], ids, samples, f'{SEED}/{name}') for name in SPLITS}
    families = {family for family, _ in packages.STYLES}
    recipes, composed = invent.invent(splits['test'], families, SEED)
    subgroups = {concept.name: concept.subgroup for concept in splits['test']}
    asked = invent.questions(recipes, rows['test'], subgroups, SEED)
    out.mkdir(parents=True, exist_ok=True)
    render.write_archive(out / 'images.zip', members | composed)
    for name in SPLITS:
        write_lines(out / f'{name}_pairs.jsonl', rows[name])
    for name, lines in asked.items():
        write_lines(out / f'{name}.jsonl', lines)
    counts = ', '.join(f'{len(rows[name])} {name}' for name in SPLITS)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    return [
        *(f'left out: {line}' for line in dropped),
        f'{len(concepts)} concepts ({counts}), {len(members)} pictures of {render.SIZE} pixels',
        f'{len(recipes)} invented concepts, {len(composed)} pictures, {sum(map(len, asked.values()))} questions',
        f'{size:.2f} MB in {out}',
    ]


def write_lines(path: Path, rows: list[dict]) -> None:
    """JSON Lines without blanks."""
    path.write_text(''.join(json.dumps(row, separators=(',', ':')) + '\n' for row in rows), encoding='ascii')


def differences(built: Path, shipped: Path) -> list[str]:
    """One line per file, row or picture of ``shipped`` that is not as in ``built``."""
    found = []
    for name in [f'{split}_pairs.jsonl' for split in SPLITS] + [f'{kind}.jsonl' for kind in invent.KINDS]:
        if not (shipped / name).is_file():
            found.append(f'{name}: missing')
        elif (shipped / name).read_text() != (built / name).read_text():
            found.append(f'{name}: rows differ')
    if not (shipped / 'images.zip').is_file():
        return [*found, 'images.zip: missing']
    ours, theirs = render.read_archive(built / 'images.zip'), render.read_archive(shipped / 'images.zip')
    found += [f'images.zip: {name} is in only one of both' for name in sorted(set(ours) ^ set(theirs))]
    return found + [
        f'images.zip: {name} has other pixels'
        for name in sorted(set(ours) & set(theirs))
        if not np.array_equal(np.asarray(ours[name]), np.asarray(theirs[name]))
    ]


def main() -> int:
    """Command line; exit status 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--out', type=Path, default=OUT, help='default: data/emoji of this checkout')
    parser.add_argument('--packages', type=Path, help='folder of downloaded tarballs; missing ones are fetched into it')
    parser.add_argument('--check', action='store_true', help='compare a fresh build with --out, write nothing there')
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix='emoji-'))
    try:
        tarballs = args.packages or work / 'packages'
        packages.fetch(tarballs)
        built = work / 'built' if args.check else args.out
        print('\n'.join(build(tarballs, built)))
        if not args.check:
            return 0
        found = differences(built, args.out)
        print('\n'.join(found) if found else f'{args.out} is reproduced: every row and pixel is equal')
        return 1 if found else 0
    finally:
        shutil.rmtree(work)


if __name__ == '__main__':
    sys.exit(main())
