"""Rebuild test100_pairs.jsonl, the evaluation file of Link-Context Learning that was never published, from ImageNet.

python tools/make_test100.py --root IMAGENET --out data/imagenet/test100_pairs.jsonl [--context 32] [--seed 0]

The classes are the 100 that the published train900_pairs.jsonl leaves out, in the order of their ids, so that two
consecutive rows are a pair. Which images the authors drew as context is not known; here a seed draws them.

IMAGENET holds train/<wnid>/*.JPEG and val/*.JPEG (or val/<wnid>/*.JPEG), itself or in ILSVRC/Data/CLS-LOC, and from the
development kit or the Kaggle copy, in any folder:
    map_clsloc.txt, or LOC_synset_mapping.txt                    the names of the classes
    *validation_ground_truth.txt, or LOC_val_solution.csv        the classes of val/*.JPEG
    train_cls.txt                                                if it is there, all its files must be
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
from rich.console import Console
from rich.progress import track

from mllm.utils.files import write_text_atomically

TEST_CLASSES = """
20 n02091134, 21 n02092002, 33 n02096051, 43 n02086910, 50 n02113186, 52 n02415577, 53 n02356798, 65 n02422106,
74 n02137549, 90 n02100583, 97 n02105505, 98 n02088094, 100 n02489166, 102 n02114548, 113 n02096585,
128 n02106166, 148 n02112350, 154 n02101006, 170 n02093428, 175 n02490219, 179 n02111889, 199 n02497673,
205 n02114367, 217 n01873310, 223 n02672831, 225 n02317335, 232 n02692877, 239 n02951358, 244 n03673027,
245 n03947888, 260 n03791053, 263 n04310018, 268 n03100240, 273 n04037443, 296 n02804414, 300 n02870880,
302 n03742115, 306 n03891251, 307 n02791124, 311 n04344873, 313 n03179701, 321 n07753113, 322 n07753275,
333 n03854065, 338 n03720891, 346 n03272010, 354 n03838899, 360 n09468604, 364 n09421951, 375 n03481172,
386 n01530575, 399 n01616318, 410 n01819313, 417 n01843383, 431 n02018207, 449 n01440764, 456 n02640242,
457 n02641379, 458 n01664065, 463 n01675722, 469 n01689811, 471 n01693334, 475 n01697457, 490 n01751748,
522 n02708093, 556 n04004767, 565 n03944341, 605 n01773549, 623 n02167151, 648 n01914609, 649 n01917289,
651 n01930112, 656 n01955084, 662 n03259280, 663 n04111531, 691 n03788195, 703 n03461385, 705 n02791270,
712 n03388043, 735 n07720875, 736 n07714571, 740 n07716906, 747 n04209239, 750 n03485794, 752 n02747177,
789 n03924679, 791 n06785654, 796 n03325584, 816 n07802026, 866 n03763968, 897 n03220513, 905 n02795169,
919 n03347037, 923 n03976657, 937 n03866082, 942 n03888257, 943 n04235860, 949 n02895154, 957 n04336792,
984 n03729826
"""
"""Ids as in map_clsloc.txt, and WordNet ids, of the classes that train900_pairs.jsonl does not have."""

CLASSES = {int(number): wnid for number, wnid in (entry.split() for entry in TEST_CLASSES.split(','))}
IMAGE_FOLDERS = ('', 'ILSVRC/Data/CLS-LOC', 'Data/CLS-LOC')
VAL_NAME = 'ILSVRC2012_val_{:08d}.JPEG'
Faults = list[str]


def find(root: Path, name: str) -> Path | None:
    """The first file of this name (`*` allowed) below `root`, outside the folders of images."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - {'train', 'val', 'test'})
        if names := fnmatch.filter(sorted(files), name):
            return Path(folder, names[0])
    return None


def fields(path: Path | None, pattern: str, faults: Faults) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line number and the groups of `pattern` for each line of a file; nothing where there is no file."""
    for line, text in enumerate(path.read_text(encoding='utf-8').splitlines() if path else (), start=1):
        if match := re.fullmatch(pattern, text.strip()):
            yield line, match.groups()
        elif text.strip():
            faults.append(f'{path}:{line}: {text[:60]!r} has not the form of a line of this file')


def image_folder(root: Path) -> Path:
    """The folder that holds train and val; FileNotFoundError if there is none."""
    for name in IMAGE_FOLDERS:
        if (root / name / 'train').is_dir() and (root / name / 'val').is_dir():
            return root / name
    raise FileNotFoundError(f'{root}: no train/ and val/ in it or in {IMAGE_FOLDERS[1]}; --root is the folder of both')


def class_names(root: Path, faults: Faults) -> dict[str, str]:
    """Name by WordNet id, as published: blanks for underscores, original case; of synonyms the first."""
    by_id, by_wnid = find(root, 'map_clsloc.txt'), find(root, 'LOC_synset_mapping.txt')
    names: dict[str, str] = {}
    for line, (wnid, number, name) in fields(by_id, r'(n\d+)\s+(\d+)\s+(.+)', faults):
        names[wnid] = name.replace('_', ' ')
        if CLASSES.get(int(number), wnid) != wnid:
            faults.append(f'{by_id}:{line}: class {number} is {wnid}, expected {CLASSES[int(number)]}')
    if by_id is None:
        names = {wnid: name for _, (wnid, name) in fields(by_wnid, r'(n\d+)\s+([^,]+).*', faults)}
    if by_id is None and by_wnid is None:
        faults.append(f'{root}: neither map_clsloc.txt nor LOC_synset_mapping.txt, which name the classes')
    else:
        origin = by_id or by_wnid
        faults += [f'{origin}: no name for class {n} ({wnid})' for n, wnid in CLASSES.items() if wnid not in names]
    return names


def val_images(root: Path, images: Path, faults: Faults) -> dict[str, list[str]]:
    """Paths of validation images, sorted, by WordNet id."""
    if any((images / 'val' / wnid).is_dir() for wnid in CLASSES.values()):
        return {wnid: files_in(images, f'val/{wnid}') for wnid in CLASSES.values()}
    truth, solution = find(root, '*validation_ground_truth.txt'), find(root, 'LOC_val_solution.csv')
    found: dict[str, list[str]] = defaultdict(list)
    for line, (number,) in fields(truth, r'(\d+)', faults):
        found[CLASSES.get(int(number), '')].append(f'val/{VAL_NAME.format(line)}')
    if truth is None:
        for _, (image, wnid) in fields(solution, r'(\w+),(n\d+|PredictionString)\b.*', faults):
            found[wnid].append(f'val/{image}.JPEG')
    if truth is None and solution is None:
        faults.append(
            f'{root}: no *validation_ground_truth.txt and no LOC_val_solution.csv, which say what val/*.JPEG show'
        )
    return {wnid: sorted(paths) for wnid, paths in found.items()}


def listed_images(root: Path, faults: Faults) -> dict[str, set[str]]:
    """Paths of training images by WordNet id, as train_cls.txt lists them; empty without that file."""
    listed: dict[str, set[str]] = defaultdict(set)
    for _, (wnid, name) in fields(find(root, 'train_cls.txt'), r'(n\d+)/(\S+)(?: \d+)?', faults):
        listed[wnid].add(f'train/{wnid}/{name}.JPEG')
    return listed


def files_in(images: Path, folder: str) -> list[str]:
    return sorted(f'{folder}/{path.name}' for path in (images / folder).glob('*.JPEG'))


def read_classes(root: Path, context: int, seed: int) -> list[dict[str, Any]]:
    """The rows of the file. ValueError with every fault."""
    images, faults = image_folder(root), Faults()
    names, val, listed = class_names(root, faults), val_images(root, images, faults), listed_images(root, faults)
    rows = []
    for number, wnid in track(CLASSES.items(), 'classes', console=Console(stderr=True)):
        train = files_in(images, f'train/{wnid}')
        paths = [*train, *val.get(wnid, [])]
        missing = [path for path in paths if not (images / path).is_file()] + sorted(listed[wnid] - set(train))
        if missing:
            faults.append(f'class {number} ({wnid}): {len(missing)} images are missing, as {images / missing[0]}')
        elif len(paths) <= context:
            faults.append(f'class {number} ({wnid}): {len(paths)} images in train/ and val/, --context is {context}')
        # A generator for each class: its images do not depend on those of other classes.
        order = np.random.default_rng([seed, number]).permutation(len(paths)).tolist()
        rows.append(
            {
                'class_id': str(number),
                'class_name': names.get(wnid, ''),
                'context_samples': [paths[position] for position in order[:context]],
                'test_samples': [paths[position] for position in sorted(order[context:])],
            }
        )
    if faults:
        raise ValueError('\n'.join(faults))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--root', type=Path, required=True, help='ImageNet')
    parser.add_argument('--out', type=Path, required=True, help='the file to write')
    parser.add_argument('--context', type=int, default=32, help='context images a class, at least 1')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    if args.context < 1 or args.seed < 0:
        parser.error('--context is at least 1, --seed at least 0')
    try:
        rows = read_classes(args.root, args.context, args.seed)
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(args.out, ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows))
    tests = sum(len(row['test_samples']) for row in rows)
    print(f'{args.out}: {len(rows)} classes, {args.context} context images each, {tests} test images')
    print(f'image_folder is {image_folder(args.root)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
