"""Before stage 1 of a sample's way: regions of Visual Genome -> rows of `rec.GCDataset` and `rec.RECDataset`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items
from mllm.grounding.geometry import are_numbers, xywh_to_xyxy
from mllm.registry import CONVERTERS

IMAGE_DATA = 'image_data.json'
CORNER = ('x', 'y', 'width', 'height')


class ImageData(NamedTuple):
    path: str
    width: int
    height: int


@CONVERTERS.register_module('visual_genome')
class VisualGenome(Converter):
    """A row for each described region. Images lie in two folders, and only their address says in which."""

    splits = {'regions': ('region_descriptions.json', IMAGE_DATA)}
    image_field = 'img_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        path = self.root / self.splits[split][0]
        images = image_data(self.root / IMAGE_DATA)
        for number, image in enumerate(stream_items(path)):
            if not isinstance(image, Mapping) or not isinstance(image.get('regions'), list):
                raise ValueError(f'{path}: entry {number} is no image with its regions; is it another file?')
            for region in image['regions']:
                yield self.row(region, images.get(region.get('image_id', image.get('id'))))

    def row(self, region: Mapping[str, Any], image: ImageData | None) -> Row | Skip:
        if image is None:
            return Skip(f'image is not in {IMAGE_DATA}')
        phrase = ' '.join(str(region['phrase']).split())
        if not phrase:
            return Skip('phrase is empty')
        corner = [region.get(key) for key in CORNER]
        if not are_numbers(corner, 4):
            return Skip('box is not four finite numbers')
        box = self.clip(xywh_to_xyxy([corner])[0], image.width, image.height)  # type: ignore[list-item]
        if isinstance(box, Skip):
            return box
        return {
            'img_path': image.path,
            'expression': phrase,
            'bbox': box,
            'height': image.height,
            'width': image.width,
            'region_id': region['region_id'],
        }


def image_data(path: Path) -> dict[int, ImageData]:
    """By the number of an image: the path that ends its address, and its size."""
    found = {}
    for entry in stream_items(path):
        folder, name = str(entry['url']).rsplit('/', 2)[1:]
        found[entry['image_id']] = ImageData(f'{folder}/{name}', entry['width'], entry['height'])
    return found
