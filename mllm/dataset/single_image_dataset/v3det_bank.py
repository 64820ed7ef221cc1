"""Stage 3 of a sample's way, the stock of V3Det: categories with the images and boxes that show them.

The file is one COCO-style JSON with two fields more: `neighbors` (category id -> ids of similar ones, the most similar
first) and `expired_imgs` (ids of images that are no longer there).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mllm.dataset.convert.json_stream import stream_items, stream_pairs
from mllm.dataset.single_image_dataset.class_bank import Bank, name_fault
from mllm.dataset.source import ImageFile
from mllm.grounding.geometry import box_fault, xywh_to_xyxy
from mllm.utils.image_io import load_image

if TYPE_CHECKING:
    from PIL import Image


@dataclass
class Category:
    """A category, the images that show it with the boxes of each, and categories like it, the most similar first."""

    name: str
    boxes: dict[int, list[list[float]]] = field(default_factory=dict)
    neighbours: list[int] = field(default_factory=list)

    @property
    def images(self) -> list[int]:
        return list(self.boxes)


class V3DetBank(Bank):
    """The categories that some image shows, in the order of the file. FaultsError for a file of another form."""

    image_keys = ()

    def __init__(self, filename: str, image_folder: str | None = None) -> None:
        self.filename = os.path.normpath(filename)
        self.image_folder = None if image_folder is None else os.path.normpath(image_folder)
        path = Path(filename)
        if not path.is_file():
            raise FileNotFoundError(f'{filename}: no such annotation file')
        gone = {str(key) for key, _ in stream_pairs(path, 'expired_imgs', may_be_empty=True)}
        self.files: dict[int, str] = {}
        sizes: dict[int, tuple[int, int]] = {}
        for image in stream_items(path, 'images.item'):
            if str(image['id']) not in gone:
                self.files[image['id']] = image['file_name']
                sizes[image['id']] = (image['width'], image['height'])
        self.by_id = {entry['id']: Category(entry['name']) for entry in stream_items(path, 'categories.item')}
        faults = [
            f'{filename}: category {key}: name {fault}'
            for key, category in self.by_id.items()
            if (fault := name_fault(category.name))
        ]
        faults += self.read_boxes(path, sizes)
        for key, neighbours in stream_pairs(path, 'neighbors'):
            if int(key) in self.by_id:
                self.by_id[int(key)].neighbours = [int(other) for other in neighbours if int(other) in self.by_id]
        self.stop_on(faults)
        self.shown_in: dict[int, set[int]] = defaultdict(set)
        for key, category in self.by_id.items():
            for image in category.boxes:
                self.shown_in[image].add(key)
        self.ids = [key for key, category in self.by_id.items() if category.boxes]

    def read_boxes(self, path: Path, sizes: dict[int, tuple[int, int]]) -> list[str]:
        """Put the boxes into their categories. Inverted ones are errors, as are unknown categories."""
        faults = []
        for entry in stream_items(path, 'annotations.item'):
            size = sizes.get(entry['image_id'])
            if size is None:
                continue  # of an image that is no longer there
            (box,) = xywh_to_xyxy([entry['bbox']])
            where = f'{path}: annotation {entry.get("id")}'
            if entry['category_id'] not in self.by_id:
                faults.append(f'{where}: there is no category {entry["category_id"]}')
            elif fault := box_fault(box, *size):
                faults.append(
                    f'{where}: box {entry["bbox"]} (x, y, width, height): {fault} (image {size[0]}x{size[1]})'
                )
            else:
                self.by_id[entry['category_id']].boxes.setdefault(entry['image_id'], []).append(list(box))
        return faults

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, index: int) -> str:
        return f'{self.filename}: category {self.by_id[self.ids[index]].name!r}'

    def load_id(self, image: int) -> Image.Image:
        return load_image(self.files[image], self.image_folder)

    def contrasts(self, category: int) -> list[int]:
        """Categories like one that have images without it, the most similar first."""
        return [other for other in self.by_id[category].neighbours if self.images_without(other, category)]

    def images_without(self, category: int, other: int) -> list[int]:
        """Images that show a category and not the other."""
        return [image for image in self.by_id[category].images if other not in self.shown_in[image]]

    def images(self) -> Iterator[ImageFile]:
        for image in sorted(self.shown_in):
            yield ImageFile(self.files[image], self.image_folder, self.filename)

    def most_shots(self) -> list[int]:
        """Of each category: one image is the query's."""
        found = []
        for key in self.ids:
            others = [len(self.images_without(other, key)) for other in self.contrasts(key)]
            found.append(min(len(self.by_id[key].images) - 1, max(others, default=1) - 1))
        return found

    def problems(self, shot: int) -> Iterator[str]:
        """Categories without a contrast, or with too few images for `shot` supports and a query; missing images."""
        for index, (key, most) in enumerate(zip(self.ids, self.most_shots(), strict=True)):
            if not self.contrasts(key):
                yield f'{self.where(index)}: no neighbour of it has an image without it'
            elif most < shot:
                yield f'{self.where(index)}: images for {max(most, 0)} supports beside a query, and shot is {shot}'
        yield from self.missing_images()
