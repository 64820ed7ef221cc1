"""Make episodes of your own concepts: a folder with one sub-folder of pictures per concept -> annotation files.

python tools/make_isekai.py FOLDER --out DIR [--seed 0] [--val 0.1] [--test 0.2]

Writes train_pairs.jsonl, val_pairs.jsonl, test_pairs.jsonl (disjoint concepts, ImageNet-900 pair format) and
isekai.jsonl (ISEKAI format: the test concepts in pairs, each picture asked about once). Pictures stay where they are:
image_folder is FOLDER. A concept's neighbours are those of the same split with the most similar colours.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from mllm.metric.text import normalise_answer
from mllm.utils.image_io import ImageError, load_image

ENDINGS = {'.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff'}
MIN_IMAGES = 2
MIN_CONCEPTS = 2
NEIGHBOURS = 36
BINS = 4


@dataclass(frozen=True)
class Concept:
    """A sub-folder: its pictures' paths below FOLDER and their mean colour histogram."""

    number: int
    name: str
    images: list[str]
    histogram: np.ndarray


def read_concepts(folder: Path) -> list[Concept]:
    """All sub-folders in order of name. ValueError that lists all faults: pictures and folders that cannot be used."""
    if not folder.is_dir():
        raise ValueError(f'{folder}: no such folder')
    faults: list[str] = []
    concepts = []
    names: dict[str, Path] = {}
    for number, sub in enumerate(sorted(path for path in folder.iterdir() if is_concept(path)), start=1):
        faults += name_faults(sub, names)
        images, histograms = [], []
        for path in sorted(sub.rglob('*')):
            name = path.relative_to(folder).as_posix()
            if path.suffix.lower() not in ENDINGS or '/.' in name:
                continue
            try:
                histograms.append(colour_histogram(name, folder))
                images.append(name)
            except ImageError as error:
                faults.append(str(error))
        if len(images) < MIN_IMAGES:
            faults.append(f'{sub}: {len(images)} pictures, a concept needs at least {MIN_IMAGES} (support and query)')
        else:
            concepts.append(Concept(number, sub.name.replace('_', ' '), images, np.mean(histograms, axis=0)))
    if not faults and len(concepts) < 2 * MIN_CONCEPTS:
        faults.append(
            f'{folder}: {len(concepts)} concepts in sub-folders; at least {2 * MIN_CONCEPTS} are needed, so that '
            f'training and testing have {MIN_CONCEPTS} each'
        )
    if faults:
        raise ValueError('\n'.join(faults))
    return concepts


def is_concept(path: Path) -> bool:
    """Folders that programs make for themselves begin with a dot; one that holds our files is an earlier --out."""
    return path.is_dir() and not path.name.startswith('.') and not (path / 'train_pairs.jsonl').is_file()


def name_faults(sub: Path, names: dict[str, Path]) -> list[str]:
    """What is wrong with a concept's name; `names` are those seen so far."""
    name = normalise_answer(sub.name.replace('_', ' '))
    first = names.setdefault(name, sub)
    if not name or '<' in name or '>' in name:
        return [f"{sub}: the folder's name is the concept's; give it letters, and no < or >"]
    return [] if first is sub else [f'{sub}: the same name as {first}, once written as an answer; rename one']


def colour_histogram(name: str, folder: Path) -> np.ndarray:
    """Shares of BINS ** 3 colours in a picture."""
    pixels = np.asarray(load_image(name, str(folder)).resize((32, 32))).reshape(-1, 3).astype(int) * BINS // 256
    counts = np.bincount(pixels @ (BINS**2, BINS, 1), minlength=BINS**3)
    return counts / counts.sum()


def split(concepts: list[Concept], val: float, test: float, seed: int) -> dict[str, list[Concept]]:
    """Disjoint splits; train and test have at least MIN_CONCEPTS, val has none or at least as many."""
    if not (0 <= val < 1 and 0 <= test < 1):
        raise ValueError(f'--val {val} --test {test}: expected shares of the concepts, 0 or more and below 1')
    order = np.random.default_rng(seed).permutation(len(concepts))
    count = {'test': max(MIN_CONCEPTS, round(test * len(concepts))), 'val': round(val * len(concepts))}
    if 0 < count['val'] < MIN_CONCEPTS:
        count['val'] = 0
    if len(concepts) - sum(count.values()) < MIN_CONCEPTS:
        raise ValueError(f'--val {val} --test {test} leave too few of {len(concepts)} concepts to train on; lower them')
    places = np.split(order, [count['test'], count['test'] + count['val']])
    return {
        name: [concepts[i] for i in sorted(place)] for name, place in zip(('test', 'val', 'train'), places, strict=True)
    }


def pair_rows(members: list[Concept], rng: np.random.Generator) -> list[dict[str, Any]]:
    """One split in ImageNet-900 pair format."""
    rows = []
    for concept in members:
        others = [other for other in members if other is not concept]
        others.sort(key=lambda other: float(np.abs(other.histogram - concept.histogram).sum()))
        rows.append(
            {
                'class_id': str(concept.number),
                'class_name': concept.name,
                'samples': concept.images,
                'neighbors': [[str(o.number), o.name, str(rng.choice(o.images))] for o in others[:NEIGHBOURS]],
            }
        )
    return rows


def isekai_pairs(members: list[Concept]) -> Iterator[tuple[Concept, Concept, list[Concept]]]:
    """Pairs of neighbours by colour, and whose pictures they ask about: each concept's in one pair."""
    waiting = list(members)
    while waiting:
        positive = waiting.pop(0)
        others = waiting or [other for other in members if other is not positive]
        negative = min(others, key=lambda other: float(np.abs(other.histogram - positive.histogram).sum()))
        if waiting:
            waiting.remove(negative)
            yield positive, negative, [positive, negative]
        else:  # the last of an odd number
            yield positive, negative, [positive]


def isekai_rows(members: list[Concept], rng: np.random.Generator) -> list[dict[str, Any]]:
    """A row for each picture; the queries of a pair's concepts come in turn, with equal supports."""
    rows = []
    for positive, negative, asked in isekai_pairs(members):
        for turn in range(max(len(concept.images) for concept in asked)):
            queries = [(concept, concept.images[turn]) for concept in asked if turn < len(concept.images)]
            shown = [path for _, path in queries]
            lists = [
                [str(path) for path in rng.permutation([image for image in concept.images if image not in shown])]
                for concept in (positive, negative)
            ]
            rows += [
                {
                    'image_name': query,
                    'positive_list': lists[0],
                    'negative_list': lists[1],
                    'positive_promt': positive.name,
                    'negative_promt': negative.name,
                    'label_name': concept.name,
                }
                for concept, query in queries
            ]
    return rows


def left_out(folder: Path) -> str:
    """How many files of concepts are no pictures by their endings; empty if there are none."""
    endings = Counter(
        path.suffix.lower() or path.name
        for sub in folder.iterdir()
        if is_concept(sub)
        for path in sub.rglob('*')
        if path.is_file() and path.suffix.lower() not in ENDINGS and '/.' not in path.relative_to(folder).as_posix()
    )
    return ', '.join(f'{count} {ending}' for ending, count in sorted(endings.items()))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows), encoding='utf-8')


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('folder', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--val', type=float, default=0.1, help='share of the concepts to choose settings on')
    parser.add_argument('--test', type=float, default=0.2, help='share of the concepts to test on')
    args = parser.parse_args()
    try:
        concepts = read_concepts(args.folder)
        splits = split(concepts, args.val, args.test, args.seed)
        args.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    rng = np.random.default_rng(args.seed)
    for name, members in splits.items():
        write_lines(args.out / f'{name}_pairs.jsonl', pair_rows(members, rng))
    questions = isekai_rows(splits['test'], rng)
    write_lines(args.out / 'isekai.jsonl', questions)
    images = sum(len(concept.images) for concept in concepts)
    counts = ', '.join(f'{len(splits[name])} {name}' for name in ('train', 'val', 'test'))
    print(f'{len(concepts)} concepts ({counts}), {images} pictures, {len(questions)} questions in isekai.jsonl')
    if others := left_out(args.folder):
        print(f'Left out, because their endings are not those of pictures: {others}')
    print('In a config:')
    for kind, name in (('LinkContextDataset', 'train_pairs'), ('ISEKAIEval2Way', 'isekai')):
        print(f"    dict(type='{kind}', filename='{args.out}/{name}.jsonl', image_folder='{args.folder}', shot=1, ...)")
    return 0


if __name__ == '__main__':
    sys.exit(main())
