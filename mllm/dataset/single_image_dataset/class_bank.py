"""Stage 3 of a sample's way, the stock that policies draw episodes from: classes with images.

    ClassBank     ImageNet-900 pair format (class_id, class_name, samples, neighbors), its 100 format (context_samples
                  for supports and test_samples for queries, in place of samples), and rows with all of them

Reading a file finds all faults of its form at once; `problems` finds what depends on the shots and the image folder.
"""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mllm.dataset.source import DataError, ImageFile
from mllm.metric.text import normalise_answer
from mllm.registry import nearest
from mllm.types import BOXES_PLACEHOLDER, IMAGE_PLACEHOLDER, POINTS_PLACEHOLDER
from mllm.utils.image_io import ImageError, check_folder, check_image, load_image, missing_paths
from mllm.utils.json_rows import Rows, open_rows

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class ImageClass:
    """A class to learn. `supports` and `queries` are image paths, the same ones if the file does not part them.

    `neighbours` are positions in the bank, the most similar class first.
    """

    class_id: str
    name: str
    supports: tuple[str, ...]
    queries: tuple[str, ...]
    neighbours: tuple[int, ...] = ()
    shares_name: bool = False
    """Whether another class of the bank has the same name (ImageNet has two cranes)."""

    @property
    def label(self) -> str:
        """The real name as it stands in answers: lower case."""
        return self.name.lower()

    @property
    def title(self) -> str:
        """The name in tables, where classes of one name are different rows."""
        return f'{self.name} ({self.class_id})' if self.shares_name else self.name


class Bank(ABC):
    """Rows of an annotation file (JSON Lines or a JSON array) with the folder or archive of their images.

    image_keys   the keys of a row that hold an image path or a list of them
    """

    image_keys: ClassVar[tuple[str, ...]]

    def __init__(self, filename: str, image_folder: str | None, rows: Rows | None = None) -> None:
        self.filename = os.path.normpath(filename)
        self.image_folder = None if image_folder is None else os.path.normpath(image_folder)
        self.lines = open_rows(filename) if rows is None else rows

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, index: int) -> str:
        """'file:line' of a row."""
        return self.lines.where(index)

    def load(self, path: str) -> Image.Image:
        """The image an annotation names, RGB; an ImageError says in which row it stands."""
        try:
            return load_image(path, self.image_folder)
        except ImageError as error:
            place = next((image.where for image in self.images() if image.path == path), self.filename)
            raise ImageError(f'{place}: {error}') from error

    def read_rows(
        self, keys: Sequence[str], faults: list[str], spellings: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """All rows; faults of rows that do not parse or lack a key are added to `faults`.

        `spellings` are other names of keys, by the name that may stand in the file.
        """
        rows = []
        for index in range(len(self.lines)):
            try:
                row = {(spellings or {}).get(key, key): value for key, value in self.lines[index].items()}
            except ValueError as error:
                faults.append(str(error))
                continue
            missing = [key for key in keys if key not in row]
            faults += [f'{self.where(index)}: no {key!r}{nearest(key, row)}' for key in missing]
            rows.append(row)
        return rows

    def images(self) -> Iterator[ImageFile]:
        """Every image that a row names, in order; what is not a row or not a path is passed over."""
        for index in range(len(self.lines)):
            try:
                row = self.lines[index]
            except ValueError:
                continue
            where = self.lines.where(index)
            for key in self.image_keys:
                value = row.get(key)
                for path in value if isinstance(value, list) else [value]:
                    if isinstance(path, str):
                        yield ImageFile(plain_path(path), self.image_folder, where)

    def stop_on(self, faults: Sequence[str]) -> None:
        """DataError if there are faults."""
        if faults:
            raise DataError(faults, self.images)

    @abstractmethod
    def most_shots(self) -> list[int]:
        """For each row, how many different supports its classes can give beside a query."""

    @abstractmethod
    def problems(self, shot: int) -> Iterator[str]:
        """What hinders episodes of `shot` supports per class, one line each."""

    def missing_images(self) -> Iterator[str]:
        """A fault for every row and path that is not there; one for the folder alone if that is missing."""
        try:
            check_folder(self.image_folder)
        except ImageError as error:
            yield str(error)
            return
        named = dict.fromkeys(self.images())
        missing = missing_paths([image.path for image in named], self.image_folder)
        for image in named if missing else ():
            if image.path in missing:
                try:
                    check_image(image.path, self.image_folder)
                except ImageError as error:
                    yield f'{image.where}: {error}'


class ClassBank(Bank):
    """The classes of a pair file.

    With `distinct_groups` the first component of an image's path is its group (a photographer, an art family, ...),
    and the supports of an episode come from other groups than its queries.
    ValueError with every fault of the file; FileNotFoundError if there is none.
    """

    image_keys = ('samples', 'context_samples', 'test_samples')

    def __init__(self, filename: str, image_folder: str | None = None, distinct_groups: bool = False) -> None:
        super().__init__(filename, image_folder)
        self.distinct_groups = distinct_groups
        faults: list[str] = []
        rows = self.read_rows(('class_id', 'class_name'), faults)
        self.stop_on(faults)
        positions: dict[str, int] = {}
        for index, row in enumerate(rows):
            first = positions.setdefault(str(row['class_id']), index)
            if first != index:
                faults.append(f'{self.where(index)}: class_id {row["class_id"]!r} stands in {self.where(first)} too')
        classes = [self.read_class(index, row, positions, faults) for index, row in enumerate(rows)]
        self.stop_on(faults)
        count = Counter(item.name for item in classes)
        self.classes = [replace(item, shares_name=count[item.name] > 1) for item in classes]
        self.labels = [item.label for item in self.classes]
        self.names = [normalise_answer(label) for label in self.labels]
        """Labels as answers are compared: no two classes of an episode may share one."""

    def __getitem__(self, index: int) -> ImageClass:
        return self.classes[index]

    @property
    def has_neighbours(self) -> bool:
        return any(item.neighbours for item in self.classes)

    def group(self, path: str) -> str:
        """What a support and a query must not share: the path itself, or with `distinct_groups` its first component."""
        return path.split('/', 1)[0] if self.distinct_groups else path

    def read_class(
        self, index: int, row: Mapping[str, Any], positions: Mapping[str, int], faults: list[str]
    ) -> ImageClass:
        """One row; its faults are added to `faults`."""
        # A row with all lists draws from all its images; groups, or the path itself, keep queries from supports.
        parted = 'samples' not in row and ('context_samples' in row or 'test_samples' in row)
        keys = ('context_samples', 'test_samples') if parted else ('samples', 'samples')
        paths: list[tuple[str, ...]] = []
        for key in keys:
            try:
                paths.append(path_list(row, key))
            except ValueError as error:
                fault = f'{self.where(index)}: {error}'
                faults += [fault] if fault not in faults else []
                paths.append(())
        neighbours, unknown = [], []
        triples = row.get('neighbors', [])
        if not isinstance(triples, list):
            faults.append(f'{self.where(index)}: neighbors is {triples!r}; expected a list, or leave it out')
            triples = []
        for triple in triples:
            class_id = str(triple[0]) if isinstance(triple, list) and triple else repr(triple)
            known = class_id in positions and positions[class_id] != index
            (neighbours if known else unknown).append(positions[class_id] if known else class_id)
        if unknown:
            faults.append(
                f'{self.where(index)}: neighbors {", ".join(unknown)} are not other classes of this file; '
                'write [class_id, class_name, path] of classes it has'
            )
        if fault := name_fault(row['class_name']):
            faults.append(f'{self.where(index)}: class_name {fault}')
        name = str(row['class_name']).replace('_', ' ').strip()
        return ImageClass(str(row['class_id']), name, paths[0], paths[1], tuple(neighbours))

    def most_shots(self) -> list[int]:
        query_groups = {self.group(path) for item in self.classes for path in item.queries}
        most = []
        for item in self.classes:
            groups = Counter(map(self.group, item.supports))
            apart = query_groups.isdisjoint(groups)
            taken = 0 if apart else min(groups[self.group(path)] for path in item.queries)
            most.append(groups.total() - taken)
        return most

    def problems(self, shot: int) -> Iterator[str]:
        """Classes that cannot give `shot` different supports beside a query, and images that are not there."""
        for index, (item, most) in enumerate(zip(self.classes, self.most_shots(), strict=True)):
            if most < shot:
                yield (
                    f'{self.where(index)}: class {item.name!r} has too few images: beside a query it gives {most} '
                    f'supports{" of other groups" * self.distinct_groups}, and shot is {shot}; lower shot or add images'
                )
        yield from self.missing_images()


def name_fault(name: object) -> str | None:
    """What makes a name useless as an answer, None if nothing."""
    if not isinstance(name, str) or not normalise_answer(name.replace('_', ' ')):
        return f'is {name!r}; expected a name'
    marks = [mark for mark in (IMAGE_PLACEHOLDER, BOXES_PLACEHOLDER, POINTS_PLACEHOLDER) if mark in name]
    return f'is {name!r}, in which {marks[0]} would stand for something else; expected another name' if marks else None


def path_list(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The different files of `row[key]`, in order; ValueError unless it is a list of at least one path."""
    if key not in row:
        raise ValueError(f'no {key!r}{nearest(key, row)}')
    paths = row[key]
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise ValueError(f'{key} is {repr(paths)[:60]}; expected a list of image paths, at least one')
    return tuple(dict.fromkeys(map(plain_path, paths)))


def plain_path(path: str) -> str:
    """One spelling for each file ('./a.png' is 'a.png'), so that a query is not found among its supports."""
    return path if '://' in path else posixpath.normpath(path)
