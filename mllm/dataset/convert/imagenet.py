"""Before stage 1 of a sample's way: what a copy of ImageNet says about its classes and images.

ROOT holds train/<wnid>/*.JPEG and val/*.JPEG (or val/<wnid>/*.JPEG), itself or in ILSVRC/Data/CLS-LOC, and from the
development kit or the Kaggle copy, in any folder:
    map_clsloc.txt, or LOC_synset_mapping.txt                    the names of the classes
    *validation_ground_truth.txt, or LOC_val_solution.csv        the classes of val/*.JPEG
    train_cls.txt                                                if it is there, all its files must be
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

NAMES, KAGGLE_NAMES = 'map_clsloc.txt', 'LOC_synset_mapping.txt'
TRUTH, KAGGLE_TRUTH = '*validation_ground_truth.txt', 'LOC_val_solution.csv'
IMAGE_FOLDERS = ('', 'ILSVRC/Data/CLS-LOC', 'Data/CLS-LOC')
VAL_NAME = 'ILSVRC2012_val_{:08d}.JPEG'
Faults = list[str]


class ImageClass(NamedTuple):
    """A class by its number in map_clsloc.txt. The name as published: blanks for underscores, original case."""

    number: int
    wnid: str
    name: str


class ImageNet:
    """A copy below `root`. What is wrong with it is collected in `faults`; FileNotFoundError if it has no images.

    wnids   WordNet ids by number, known beforehand: with them the numbers of classes need no map_clsloc.txt
    """

    def __init__(self, root: Path, wnids: Mapping[int, str]) -> None:
        self.root = root
        self.images = image_folder(root)
        self.faults: Faults = []
        self.classes = self.read_classes(wnids)
        self.val = self.val_images()
        self.listed = self.listed_images()

    def read_classes(self, wnids: Mapping[int, str]) -> list[ImageClass]:
        """All classes that the copy names, sorted by number; of those in `wnids` none is missing without a fault."""
        by_number, by_wnid = find(self.root, NAMES), find(self.root, KAGGLE_NAMES)
        names: dict[str, tuple[int, str]] = {}
        for line, (wnid, number, name) in self.fields(by_number, r'(n\d+)\s+(\d+)\s+(.+)'):
            names[wnid] = int(number), name.replace('_', ' ')
            if wnids.get(int(number), wnid) != wnid:
                self.faults.append(f'{by_number}:{line}: class {number} is {wnid}, expected {wnids[int(number)]}')
        if by_number is None:
            numbers = {wnid: number for number, wnid in wnids.items()}
            for _, (wnid, name) in self.fields(by_wnid, r'(n\d+)\s+([^,]+).*'):
                if wnid in numbers:
                    names[wnid] = numbers[wnid], name
        if origin := by_number or by_wnid:
            missing = {number: wnid for number, wnid in wnids.items() if wnid not in names}
            self.faults += [f'{origin}: no name for class {number} ({wnid})' for number, wnid in missing.items()]
        else:
            self.faults.append(f'{self.root}: neither {NAMES} nor {KAGGLE_NAMES}, which name the classes')
        return sorted(ImageClass(number, wnid, name) for wnid, (number, name) in names.items())

    def val_images(self) -> dict[str, list[str]]:
        """Paths of validation images, sorted, by WordNet id."""
        if any((self.images / 'val' / one.wnid).is_dir() for one in self.classes):
            return {one.wnid: self.files_in(f'val/{one.wnid}') for one in self.classes}
        truth, solution = find(self.root, TRUTH), find(self.root, KAGGLE_TRUTH)
        wnids = {one.number: one.wnid for one in self.classes}
        found: dict[str, list[str]] = defaultdict(list)
        for line, (number,) in self.fields(truth, r'(\d+)'):
            found[wnids.get(int(number), '')].append(f'val/{VAL_NAME.format(line)}')
        if truth is None:
            for _, (image, wnid) in self.fields(solution, r'(\w+),(n\d+|PredictionString)\b.*'):
                found[wnid].append(f'val/{image}.JPEG')
        if truth is None and solution is None:
            self.faults.append(f'{self.root}: no {TRUTH} and no {KAGGLE_TRUTH}, which say what val/*.JPEG show')
        return {wnid: sorted(paths) for wnid, paths in found.items()}

    def listed_images(self) -> dict[str, set[str]]:
        """Paths of training images by WordNet id, as train_cls.txt lists them; empty without that file."""
        listed: dict[str, set[str]] = defaultdict(set)
        for _, (wnid, name) in self.fields(find(self.root, 'train_cls.txt'), r'(n\d+)/(\S+)(?: \d+)?'):
            listed[wnid].add(f'train/{wnid}/{name}.JPEG')
        return listed

    def images_of(self, one: ImageClass, least: int, purpose: str) -> list[str]:
        """Paths of the images of a class, training before validation. Missing ones are a fault, as are fewer than
        `least`, which `purpose` asks for."""
        train, val = self.files_in(f'train/{one.wnid}'), self.val.get(one.wnid, [])
        paths = [*train, *val]
        missing = [path for path in val if not (self.images / path).is_file()]
        missing += sorted(self.listed.get(one.wnid, set()) - set(train))
        where = f'class {one.number} ({one.wnid})'
        if missing:
            self.faults.append(f'{where}: {len(missing)} images are missing, as {self.images / missing[0]}')
        elif len(paths) < least:
            self.faults.append(f'{where}: {len(paths)} images in train/ and val/, {purpose}')
        return paths

    def files_in(self, folder: str) -> list[str]:
        return sorted(f'{folder}/{path.name}' for path in (self.images / folder).glob('*.JPEG'))

    def fields(self, path: Path | None, pattern: str) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Line number and the groups of `pattern` for each line of a file; nothing where there is no file."""
        for line, text in enumerate(path.read_text(encoding='utf-8').splitlines() if path else (), start=1):
            if match := re.fullmatch(pattern, text.strip()):
                yield line, match.groups()
            elif text.strip():
                self.faults.append(f'{path}:{line}: {text[:60]!r} has not the form of a line of this file')


def find(root: Path, name: str) -> Path | None:
    """The first file of this name (`*` allowed) below `root`, outside the folders of images."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - {'train', 'val', 'test'})
        if names := fnmatch.filter(sorted(files), name):
            return Path(folder, names[0])
    return None


def image_folder(root: Path) -> Path:
    """The folder that holds train and val; FileNotFoundError if there is none."""
    for name in IMAGE_FOLDERS:
        if (root / name / 'train').is_dir() and (root / name / 'val').is_dir():
            return root / name
    raise FileNotFoundError(f'{root}: no train/ and val/ in it or in {IMAGE_FOLDERS[1]}; --root is the folder of both')
