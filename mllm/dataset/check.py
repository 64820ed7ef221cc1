"""All that datasets name is read once before a run: stages 1 to 7 of every sample's way, and what each found is like.

configs -> sources, or the parts of them that can be opened
        -> image files, each once however many datasets name it
        -> samples of epoch 0, encoded for the model
        -> numbers of each dataset, and all faults with file and line
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from mllm.dataset.builder import DatasetEntry, make_dataset
from mllm.dataset.faults import FaultList
from mllm.dataset.measure import Measured, Measurements, Size
from mllm.dataset.salvage import Listing, open_source
from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.types import Preprocessor

BATCH = 16
"""Measurements that a worker sends at a time."""


class ImageFiles:
    """Image files by number, each once however often it is named: its size, or what is wrong with it."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str | None], int] = {}
        self.sizes: dict[int, Size] = {}
        self.faults: dict[int, str] = {}

    def add(self, listings: Sequence[Listing]) -> list[int]:
        """The numbers of the files in some listings, each once."""
        keys = ((image.path, image.folder) for listing in listings for image in listing())
        return list(dict.fromkeys(self.numbers.setdefault(key, len(self.numbers)) for key in keys))

    def take(self, number: int, measured: Measured) -> None:
        """Add what a file is like."""
        if measured.fault:
            self.faults[number] = measured.fault
        else:
            (self.sizes[number],) = measured.sizes


@dataclass
class DatasetCheck:
    """One dataset and what its measurements add up to. `files` are numbers of the image files it lists."""

    name: str
    dataset: SingleImageConvDataset | None
    listings: list[Listing]
    files: list[int]
    image_faults: set[str] | None = None
    tokens: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    images: int = 0
    smallest: Size | None = None
    largest: Size | None = None
    truncated: int = 0
    dropped: int = 0
    clipped: int = 0
    failed: int = 0

    def take(self, measured: Measured) -> None:
        """Add a sample."""
        if measured.fault:
            self.failed += 1
            return
        self.tokens.append(measured.tokens)
        self.shown.append(measured.shown)
        self.images += len(measured.sizes)
        self.truncated += measured.dropped > 0
        self.dropped += measured.dropped
        self.clipped += measured.clipped
        for size in measured.sizes:
            self.take_size(size)

    def take_size(self, size: Size) -> None:
        (low_x, low_y), (high_x, high_y) = self.smallest or size, self.largest or size
        self.smallest = min(low_x, size[0]), min(low_y, size[1])
        self.largest = max(high_x, size[0]), max(high_y, size[1])

    def summary(self) -> dict[str, Any]:
        """Numbers for a table or a file.

        images      image files it lists, or where it lists none, images of its samples
        width, height, images_per_sample   [least, most]
        most_shots  see `Source.most_shots`
        tokens      of a sample with its answer; `limit` is what the model takes
        """
        tokens = np.array(self.tokens)
        source = None if self.dataset is None else self.dataset.source
        return {
            'dataset': self.name,
            'samples': 0 if source is None else len(source),
            'images': len(self.files) or self.images,
            'width': self.smallest and self.largest and [self.smallest[0], self.largest[0]],
            'height': self.smallest and self.largest and [self.smallest[1], self.largest[1]],
            'most_shots': None if source is None else source.most_shots(),
            'images_per_sample': [min(self.shown), max(self.shown)] if self.shown else None,
            'tokens': {
                'min': int(tokens.min()),
                'median': int(np.percentile(tokens, 50, method='nearest')),
                'p95': int(np.percentile(tokens, 95, method='higher')),
                'max': int(tokens.max()),
            }
            if self.tokens
            else None,
            'limit': None if self.dataset is None else self.dataset.encoder.preprocessor.max_length,
            'truncated_samples': self.truncated,
            'dropped_supports': self.dropped,
            'clipped_boxes': self.clipped,
            'failed_samples': self.failed,
        }


class DataCheck:
    """Datasets by the names that a user gives them. They are opened at once; `run` reads them."""

    def __init__(
        self, wanted: Mapping[str, DatasetEntry], data_args: Mapping[str, Any], preprocessor: Preprocessor, seed: int
    ) -> None:
        self.faults = FaultList()
        self.files = ImageFiles()
        self.spoilt: Counter[str] = Counter()
        self.rows: list[DatasetCheck] = []
        for name, entry in wanted.items():
            opened = open_source(entry.cfg)
            for fault in opened.faults:
                self.faults.add(name, fault)
            dataset = None
            if opened.source is not None:
                dataset = make_dataset(entry.prefix, opened.source, data_args, preprocessor, seed)
            self.rows.append(DatasetCheck(name, dataset, opened.listings, self.files.add(opened.listings)))
        readable = [(row, row.dataset) for row in self.rows if row.dataset is not None]
        self.readable = [row for row, _ in readable]
        self.measurements = Measurements(list(self.files.numbers), [dataset for _, dataset in readable])

    def __len__(self) -> int:
        """Measurements to make."""
        return len(self.measurements)

    def run(self, workers: int = 0) -> Iterator[tuple[str, int]]:
        """Measure all; yields what is being read ('images', or a dataset's name) and how many were, batch by batch."""
        loader = DataLoader(self.measurements, batch_size=BATCH, num_workers=workers, collate_fn=list)
        number, what = 0, 'images'
        for batch in loader:
            for measured in batch:
                what = self.take(number, measured)
                number += 1
            yield what, len(batch)

    def take(self, number: int, measured: Measured) -> str:
        """Add a measurement; returns what it is of."""
        position, index = self.measurements.locate(number)
        if position < 0:
            self.files.take(index, measured)
            return 'images'
        row = self.readable[position]
        row.take(measured)
        if measured.image_fault and measured.fault in self.image_faults(row):
            # Known by the lines that name the file: one broken image may be in hundreds of samples.
            self.spoilt[measured.fault] += 1
        elif measured.fault:
            self.faults.add(row.name, measured.fault, self.measurements.datasets[position].source.describe(index))
        return row.name

    def image_faults(self, row: DatasetCheck) -> set[str]:
        """What is wrong with the image files that a dataset lists; all of them are read before the first sample."""
        if row.image_faults is None:
            row.image_faults = {self.files.faults[number] for number in row.files if number in self.files.faults}
        return row.image_faults

    def report(self) -> tuple[list[dict[str, Any]], FaultList]:
        """A summary per dataset, see `DatasetCheck.summary`, and all faults; of what was read, if `run` was stopped."""
        for row in self.rows:
            for number in row.files:
                if number in self.files.sizes:
                    row.take_size(self.files.sizes[number])
            if not self.files.faults.keys().isdisjoint(row.files):
                self.add_image_faults(row)
        groups = self.faults.groups()
        return [
            {**row.summary(), 'faults': sum(row.name in group.datasets for group in groups)} for row in self.rows
        ], self.faults

    def add_image_faults(self, row: DatasetCheck) -> None:
        """Broken images at every line that names them."""
        for listing in row.listings:
            for image in listing():
                fault = self.files.faults.get(self.files.numbers[image.path, image.folder])
                if fault is not None:
                    self.faults.add(row.name, fault, image.where).samples = self.spoilt[fault]
