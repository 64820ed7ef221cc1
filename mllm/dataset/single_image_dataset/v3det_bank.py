"""Stage 3 of a sample's way, the stock of V3Det: categories with the images and boxes that show them.

The file is one COCO-style JSON with two fields more: `neighbors` (category id -> ids of similar ones, the most similar
first) and `expired_imgs` (ids of images that are no longer there).
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mllm.dataset.convert.json_stream import stream_items, stream_pairs
from mllm.dataset.single_image_dataset.class_bank import Bank, name_fault
from mllm.dataset.source import ImageFile
from mllm.grounding.geometry import are_numbers, box_fault, xywh_to_xyxy
from mllm.utils.faults import lines_of
from mllm.utils.image_io import load_image
from mllm.utils.log import get_logger

if TYPE_CHECKING:
    from PIL import Image

logger = get_logger(__name__)

FEWEST = 2
"""Images of a category and of its contrast: one for a support, another one for the query."""


@dataclass
class Category:
    """A category, the images that show it, and categories like it, the most similar first.

    coordinates   of each image its boxes one behind the other: a file may have millions of them
    """

    name: str
    coordinates: dict[int, array[float]] = field(default_factory=dict)
    neighbours: list[int] = field(default_factory=list)

    def boxes(self, image: int) -> list[list[float]]:
        """Its boxes in an image, (x0, y0, x1, y1) in pixels."""
        flat = self.coordinates[image].tolist()
        return [flat[start : start + 4] for start in range(0, len(flat), 4)]


class V3DetBank(Bank):
    """The categories that episodes can be made of, in the order of the file: those with two images, and a contrast.

    How many others some image shows is logged. FaultsError for a file of another form.
    """

    image_keys = ()

    def __init__(self, filename: str, image_folder: str | None = None) -> None:
        self.filename = os.path.normpath(filename)
        self.image_folder = None if image_folder is None else os.path.normpath(image_folder)
        path = Path(filename)
        if not path.is_file():
            raise FileNotFoundError(f'{filename}: no such annotation file')
        self.files: dict[int, str] = {}
        self.by_id: dict[int, Category] = {}
        try:
            faults = self.read(path)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{filename}: an entry has another form than those of V3Det: {lines_of(error)[0]}'
            ) from error
        self.stop_on(faults)
        shown = [key for key, category in self.by_id.items() if category.coordinates]
        self.ids = [key for key in shown if self.is_usable(key)]
        if not self.ids:
            self.stop_on([f'{filename}: no category has {FEWEST} images and a neighbour with {FEWEST} without it'])
        if left_out := len(shown) - len(self.ids):
            logger.warning('%s: %d of %d categories have too few images or neighbours', filename, left_out, len(shown))

    def read(self, path: Path) -> list[str]:
        """All parts of a file; returns its faults."""
        gone = {str(key) for key, _ in stream_pairs(path, 'expired_imgs', may_be_empty=True)}
        sizes: dict[int, tuple[int, int]] = {}
        for image in stream_items(path, 'images.item'):
            if str(image['id']) not in gone:
                self.files[image['id']] = image['file_name']
                sizes[image['id']] = (image['width'], image['height'])
        self.by_id |= {entry['id']: Category(entry['name']) for entry in stream_items(path, 'categories.item')}
        faults = [
            f'{path}: category {key}: name {fault}'
            for key, category in self.by_id.items()
            if (fault := name_fault(category.name))
        ]
        faults += self.read_boxes(path, sizes, gone)
        for key, neighbours in stream_pairs(path, 'neighbors'):
            if int(key) in self.by_id:
                self.by_id[int(key)].neighbours = [int(other) for other in neighbours if int(other) in self.by_id]
        return faults

    def read_boxes(self, path: Path, sizes: dict[int, tuple[int, int]], gone: set[str]) -> list[str]:
        """Put the boxes into their categories. Inverted ones are errors, as are unknown categories and images."""
        faults = []
        for entry in stream_items(path, 'annotations.item'):
            image, category = entry['image_id'], self.by_id.get(entry['category_id'])
            if str(image) in gone:
                continue
            where = f'{path}: annotation {entry.get("id")}'
            if image not in sizes:
                faults.append(f'{where}: there is no image {image}')
            elif category is None:
                faults.append(f'{where}: there is no category {entry["category_id"]}')
            elif fault := corner_fault(entry['bbox'], *sizes[image]):
                faults.append(f'{where}: box {entry["bbox"]} (x, y, width, height): {fault}')
            else:
                category.coordinates.setdefault(image, array('d')).extend(xywh_to_xyxy([entry['bbox']])[0])
        return faults

    def is_usable(self, category: int) -> bool:
        """Whether an episode can ask about a category: whether it has images, and some contrast."""
        own = self.by_id[category]
        return len(own.coordinates) >= FEWEST and any(self.is_contrast(category, other) for other in own.neighbours)

    def is_contrast(self, category: int, other: int) -> bool:
        """Whether another category has images enough that do not show this one."""
        return self.count_without(other, category) >= FEWEST

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, index: int) -> str:
        return f'{self.filename}: category {self.by_id[self.ids[index]].name!r}'

    def load_id(self, image: int) -> Image.Image:
        return load_image(self.files[image], self.image_folder)

    def contrasts(self, category: int) -> list[int]:
        """Categories like one that have images enough without it, the most similar first."""
        return [other for other in self.by_id[category].neighbours if self.is_contrast(category, other)]

    def images_without(self, category: int, other: int) -> list[int]:
        """Images that show a category and not the other."""
        shown = self.by_id[other].coordinates
        return [image for image in self.by_id[category].coordinates if image not in shown]

    def count_without(self, category: int, other: int) -> int:
        """The number of `images_without`, which check asks for all pairs of neighbours."""
        own, shown = self.by_id[category].coordinates, self.by_id[other].coordinates
        return len(own) - len(own.keys() & shown.keys())

    def images(self) -> Iterator[ImageFile]:
        for image in sorted({image for category in self.by_id.values() for image in category.coordinates}):
            yield ImageFile(self.files[image], self.image_folder, self.filename)

    def most_shots(self) -> list[int]:
        """Of each category with its scarcest contrast; one image is the query's."""
        found = []
        for key in self.ids:
            others = (self.count_without(other, key) for other in self.by_id[key].neighbours)
            found.append(min([len(self.by_id[key].coordinates), *(count for count in others if count >= FEWEST)]) - 1)
        return found

    def problems(self, shot: int) -> Iterator[str]:
        """Missing images. Many categories have few; with more shots than they can give they repeat supports."""
        del shot
        yield from self.missing_images()


def corner_fault(corner: object, width: int, height: int) -> str | None:
    """What is wrong with a box (x, y, width, height) of an image, None if nothing."""
    if not are_numbers(corner, 4):
        return 'expected four finite numbers'
    fault = box_fault(xywh_to_xyxy([corner])[0], width, height)  # type: ignore[list-item]
    return fault and f'{fault} (image {width}x{height})'
