"""Stage 3 of a sample's way, the stock of evaluation: questions whose supports a file fixes.

    IsekaiBank    ISEKAI rows: a query image, a positive and a negative list of supports, and their labels
    GroupBank     classes of the ImageNet-100 format in groups of consecutive rows: every test sample is a query, and
                  the context samples of its group are the supports

Reading a file finds all faults of its form at once; `problems` finds what depends on the shots and the image folder.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllm.dataset.single_image_dataset.class_bank import Bank, ClassBank, name_fault, path_list, plain_path
from mllm.dataset.single_image_dataset.isekai_folder import read_folder
from mllm.metric.text import normalise_answer
from mllm.utils.json_rows import open_rows


@dataclass(frozen=True)
class QueryRow:
    """A query image with its label, the labels of the episode, and for each of them the supports without the query.

    `classes` is what tables call the class of each label.
    """

    query: str
    label: str
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    supports: tuple[tuple[str, ...], ...]


class QueryBank(Bank):
    """Numbered queries with their supports."""

    @abstractmethod
    def __getitem__(self, index: int) -> QueryRow: ...


class IsekaiBank(QueryBank):
    """The rows of an ISEKAI file, or of a folder in the Hugging Face `imagefolder` layout (see `isekai_folder`).

    The published spelling of the label keys, `positive_promt`, and the right one, `positive_prompt`, mean the same.
    ValueError with every fault; FileNotFoundError if there is no such file.
    """

    image_keys = ('image_name', 'positive_list', 'negative_list')
    keys = ('image_name', 'positive_list', 'negative_list', 'positive_promt', 'negative_promt', 'label_name')
    spellings = {'positive_prompt': 'positive_promt', 'negative_prompt': 'negative_promt'}

    def __init__(
        self, filename: str, image_folder: str | None = None, pairs: Sequence[Sequence[str]] | None = None
    ) -> None:
        if Path(filename).is_dir():
            lines, image_folder = read_folder(filename, pairs), image_folder or filename
        elif pairs is None:
            lines = open_rows(filename)
        else:
            raise ValueError(f'pairs={pairs!r}: {filename} fixes the pairs itself; leave pairs out, or name a folder')
        super().__init__(filename, image_folder, lines)
        faults: list[str] = []
        rows = self.read_rows(self.keys, faults, self.spellings)
        self.stop_on(faults)
        self.rows = [self.read_row(index, row, faults) for index, row in enumerate(rows)]
        self.stop_on(faults)

    def __getitem__(self, index: int) -> QueryRow:
        return self.rows[index]

    def read_row(self, index: int, row: Mapping[str, Any], faults: list[str]) -> QueryRow:
        """One row; its faults are added to `faults`."""
        query, label = plain_path(str(row['image_name'])), str(row['label_name'])
        labels = (str(row['positive_promt']), str(row['negative_promt']))
        wrong = [f'{self.where(index)}: {key} {fault}' for key in self.keys[3:] if (fault := name_fault(row[key]))]
        if not isinstance(row['image_name'], str):
            wrong.append(f'{self.where(index)}: image_name is {row["image_name"]!r}; expected the path of an image')
        if wrong:
            faults += wrong
        elif label not in labels:
            faults.append(f'{self.where(index)}: label_name {label!r} is neither of the labels {labels}')
        elif normalise_answer(labels[0]) == normalise_answer(labels[1]):
            faults.append(
                f'{self.where(index)}: positive_promt {labels[0]!r} and negative_promt {labels[1]!r} are one name; an '
                'answer cannot tell them apart'
            )
        supports: list[tuple[str, ...]] = []
        for key in ('positive_list', 'negative_list'):
            try:
                supports.append(tuple(path for path in path_list(row, key) if path != query))
            except ValueError as error:
                faults.append(f'{self.where(index)}: {error}')
                supports.append(())
        return QueryRow(query, label, labels, labels, tuple(supports))

    def most_shots(self) -> list[int]:
        return [min(map(len, row.supports)) for row in self.rows]

    def problems(self, shot: int) -> Iterator[str]:
        """Rows with fewer than `shot` supports of a side, and query images that are not there."""
        for index, row in enumerate(self.rows):
            for key, paths in zip(('positive_list', 'negative_list'), row.supports):
                if len(paths) < shot:
                    yield (
                        f'{self.where(index)}: {key} has too few images: {len(paths)} beside the query, and shot is '
                        f'{shot}; lower shot or add images'
                    )
        yield from self.missing_images()


class GroupBank(QueryBank):
    """Every test sample of a class file in file order, or the first `sample_per_class` of each class (0: all).

    The classes of an episode are those of the query's group: `ways` consecutive rows, the query's own class first.
    ValueError naming the file unless its rows fill such groups with classes of different names.
    """

    image_keys = ClassBank.image_keys

    def __init__(
        self, filename: str, image_folder: str | None = None, ways: int = 2, sample_per_class: int = 0
    ) -> None:
        if ways < 2 or sample_per_class < 0:
            raise ValueError(
                f'ways={ways}, sample_per_class={sample_per_class}: expected at least 2 ways, and 0 (all) or more'
            )
        self.stock = ClassBank(filename, image_folder)
        super().__init__(filename, image_folder, self.stock.lines)
        self.ways = ways
        self.check_groups()
        self.questions = [
            (position, path)
            for position, item in enumerate(self.stock.classes)
            for path in item.queries[: sample_per_class or None]
        ]

    def check_groups(self) -> None:
        count = len(self.stock)
        if count % self.ways:
            raise ValueError(
                f'{self.filename} has {count} rows, which do not part into groups of {self.ways} consecutive classes; '
                'add or remove rows, or change ways'
            )
        faults = []
        for position, label in enumerate(self.stock.labels):
            name = normalise_answer(label)
            others = self.group(position)[1:]
            twins = [other for other in others if normalise_answer(self.stock.labels[other]) == name]
            faults += [
                f'{self.lines.where(position)}: class_name {label!r} stands in the same group at '
                f'{self.lines.where(other)}; an answer cannot tell them apart'
                for other in twins
                if other > position
            ]
        self.stop_on(faults)

    def group(self, position: int) -> list[int]:
        """The positions of the classes beside the one at `position`, which comes first."""
        start = position - position % self.ways
        return [position, *(other for other in range(start, start + self.ways) if other != position)]

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> QueryRow:
        position, query = self.questions[index]
        classes = [self.stock[other] for other in self.group(position)]
        supports = tuple(tuple(path for path in item.supports if path != query) for item in classes)
        labels, titles = tuple(item.label for item in classes), tuple(item.title for item in classes)
        return QueryRow(query, labels[0], labels, titles, supports)

    def where(self, index: int) -> str:
        """'file:line' of the query's class."""
        return self.lines.where(self.questions[index][0])

    def most_shots(self) -> list[int]:
        return self.stock.most_shots()

    def problems(self, shot: int) -> Iterator[str]:
        """Classes that cannot give `shot` supports beside a query, and images that are not there."""
        return self.stock.problems(shot)
