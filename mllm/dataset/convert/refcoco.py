"""Before stage 1 of a sample's way: RefCOCO, RefCOCO+ and RefCOCOg -> rows of `rec.RECDataset` and `rec.REGDataset`.

    {dataset}/refs({partition}).p      or refs({partition}).json, a list under "ref" whose refs may have their `ann`
    {dataset}/instances.json           images and boxes

{dataset}_{partition}_{split}          a row for each sentence: find the thing
reg_{dataset}_{partition}_{split}      a row for each thing, with all its sentences as `references`: name the thing
minigpt_{dataset}_{split}              from the lists that MiniGPT-v2 distributes: {dataset}/{dataset}_{split}.json

Sentences that occur twice stay: the published scores are taken over them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items
from mllm.grounding.geometry import are_numbers, xywh_to_xyxy
from mllm.registry import CONVERTERS
from mllm.types import Box
from mllm.utils.plain_pickle import load_plain_pickle

SPLITS = {
    ('refcoco', 'unc'): ('train', 'val', 'testA', 'testB'),
    ('refcoco+', 'unc'): ('train', 'val', 'testA', 'testB'),
    ('refcocog', 'umd'): ('train', 'val', 'test'),
    ('refcocog', 'google'): ('train', 'val'),
}
REG, MINIGPT = 'reg_', 'minigpt_'
IMAGE_ID = re.compile(r'(COCO_\w+?_\d{12})(?:_\d+)?')
"""An `img_id` of MiniGPT: the file name without its ending, and then the number of the annotation."""


class Instances(NamedTuple):
    """What an instances.json says: image id -> (file name, width, height), annotation id -> (x, y, width, height)."""

    images: dict[int, tuple[str, int, int]]
    boxes: dict[int, Box]


def official_splits() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for (dataset, partition), splits in SPLITS.items():
        files = (f'{dataset}/refs({partition}).p', f'{dataset}/instances.json')
        found |= {f'{dataset}_{partition}_{split}': files for split in splits}
        found |= {f'{REG}{dataset}_{partition}_{split}': files for split in splits if split != 'train'}
    for (dataset, partition), splits in SPLITS.items():
        if partition != 'google':
            found |= {f'{MINIGPT}{dataset}_{split}': (f'{dataset}/{dataset}_{split}.json',) for split in splits}
    return found


@CONVERTERS.register_module('refcoco')
class RefCOCO(Converter):
    """The three sets of referring expressions on COCO train2014."""

    splits = official_splits()
    image_field = 'img_path'

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.cached: tuple[Path, Any] | None = None
        """The instances.json read last: all splits of a dataset need it."""

    def missing(self, split: str) -> list[Path]:
        return [
            path for path in super().missing(split) if path.suffix != '.p' or not path.with_suffix('.json').exists()
        ]

    def rows(self, split: str) -> Iterator[Row | Skip]:
        first, *_ = self.splits[split]
        if split.startswith(MINIGPT):
            yield from self.minigpt_rows(self.root / first, split.rsplit('_', 1)[1])
            return
        dataset, _, name = split.removeprefix(REG).split('_')
        instances = self.instances(self.root / dataset / 'instances.json')
        path, found = self.root / first, False
        for number, ref in enumerate(read_refs(path)):
            if not isinstance(ref, Mapping) or not isinstance(ref.get('sentences'), list) or 'split' not in ref:
                raise ValueError(f'{path}: entry {number} is no ref with its sentences; is it another file?')
            if ref['split'] == name:
                found = True
                rows = self.rows_of(ref, instances, dataset, path)
                yield from joined(rows) if split.startswith(REG) else rows
        if not found:
            raise ValueError(f'{path}: it has no refs of the split {name!r}; is it the file of another partition?')

    def rows_of(self, ref: Mapping[str, Any], instances: Instances, dataset: str, path: Path) -> list[Row | Skip]:
        """A row for each sentence. The file name is that of the instances: the one in refs has a suffix."""
        where = f'{path}: ref {ref.get("ref_id")}'
        if ref.get('image_id') not in instances.images:
            raise ValueError(f'{where}: no image {ref.get("image_id")} in instances.json; is it of another dataset?')
        file_name, width, height = instances.images[ref['image_id']]
        corner = instances.boxes.get(ref.get('ann_id', -1), ref.get('ann', {}).get('bbox'))
        if corner is None:
            raise ValueError(f'{where}: no annotation {ref.get("ann_id")} in instances.json; is it of another dataset?')
        box = self.clip_corner(corner, width, height)
        row = {
            'dataset_name': dataset,
            'height': height,
            'width': width,
            'image_id': ref['image_id'],
            'ref_id': ref['ref_id'],
            'split': ref['split'],
        }
        return [
            box
            if isinstance(box, Skip)
            else {
                'img_path': file_name,
                'expression': sentence['sent'],
                'bbox': box,
                **row,
                'sent_id': sentence['sent_id'],
            }
            for sentence in ref['sentences']
        ]

    def clip_corner(self, corner: Box, width: int, height: int) -> list[float] | Skip:
        """A box (x, y, width, height) as corners inside its image."""
        if not are_numbers(corner, 4):
            return Skip('box is not four finite numbers')
        return self.clip(xywh_to_xyxy([corner])[0], width, height)

    def instances(self, path: Path) -> Instances:
        if self.cached is None or self.cached[0] != path:
            images = {
                image['id']: (image['file_name'], image['width'], image['height'])
                for image in stream_items(path, 'images.item')
            }
            boxes = {entry['id']: entry['bbox'] for entry in stream_items(path, 'annotations.item')}
            self.cached = path, Instances(images, boxes)
        return self.cached[1]

    def minigpt_rows(self, path: Path, split: str) -> Iterator[Row | Skip]:
        for number, entry in enumerate(stream_items(path)):
            if not isinstance(entry, Mapping) or not {'img_id', 'sents', 'bbox', 'height', 'width'} <= set(entry):
                raise ValueError(f'{path}: entry {number} has not the keys img_id, sents, bbox, height and width')
            name = IMAGE_ID.fullmatch(str(entry['img_id']))
            if name is None:
                raise ValueError(f'{path}: entry {number} has the img_id {entry["img_id"]!r}, which is no COCO image')
            box = self.clip_corner(entry['bbox'], entry['width'], entry['height'])
            if isinstance(box, Skip):
                yield box
                continue
            yield {
                'img_path': f'{name[1]}.jpg',
                'expression': entry['sents'],
                'bbox': box,
                'height': entry['height'],
                'width': entry['width'],
                'split': split,
            }


def read_refs(path: Path) -> Iterator[Any]:
    """The refs of a pickle, or of the JSON beside it that stands for it."""
    if not path.exists():
        yield from stream_items(path.with_suffix('.json'), 'ref.item')
        return
    refs = load_plain_pickle(path)
    if not isinstance(refs, list):
        raise ValueError(f'{path}: expected a list of refs, found {type(refs).__name__}')
    yield from refs


def joined(rows: list[Row | Skip]) -> Iterator[Row | Skip]:
    """The rows of one ref as one, with all their expressions."""
    sentences = [row for row in rows if not isinstance(row, Skip)]
    if not sentences:
        yield rows[0] if rows else Skip('ref without sentences')
        return
    row = {key: value for key, value in sentences[0].items() if key != 'sent_id'}
    yield {**row, 'references': [row['expression'] for row in sentences]}
