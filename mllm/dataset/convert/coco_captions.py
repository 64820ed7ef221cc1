"""Before stage 1 of a sample's way: COCO captions -> rows of `caption.CaptionDataset`.

Training rows have one caption each, evaluation rows one image with all of its captions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items
from mllm.registry import CONVERTERS

YEARS = ('2014', '2017')
KARPATHY = {'karpathy_train': ('train', 'restval'), 'karpathy_val': ('val',), 'karpathy_test': ('test',)}


@CONVERTERS.register_module('coco_captions')
class COCOCaptions(Converter):
    """The official files of 2014 and 2017, and the Karpathy split of 2014 in dataset_coco.json."""

    splits = {
        **{
            f'{name}{year}': (f'annotations/captions_{name}{year}.json',) for name in ('train', 'val') for year in YEARS
        },
        **dict.fromkeys(KARPATHY, ('dataset_coco.json',)),
    }
    image_field = 'img_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        path = self.root / self.splits[split][0]
        images = self.karpathy(path, split) if split in KARPATHY else self.official(path, split)
        for name, image_id, captions in images:
            texts = [' '.join(str(caption).split()) for caption in captions]
            kept = [text for text in texts if text]
            yield from (Skip('caption is empty') for text in texts if not text)
            if not name:
                yield Skip('captions of an image that the file does not have')
            elif not texts:
                yield Skip('image without caption')
            elif 'train' in split:
                yield from ({'img_path': name, 'caption': text, 'image_id': image_id} for text in kept)
            elif kept:
                yield {'img_path': name, 'captions': kept, 'image_id': image_id}

    def official(self, path: Path, split: str) -> Iterator[tuple[str, Any, list[str]]]:
        # Re-packaged files have ids as texts in one place and as numbers in the other.
        captions: dict[str, list[str]] = {}
        for entry in stream_items(path, 'annotations.item'):
            captions.setdefault(str(entry['image_id']), []).append(entry['caption'])
        for image in stream_items(path, 'images.item'):
            name = image.get('image_id', image['id'])
            yield f'{split}/{image.get("file_name", name)}', name, captions.pop(str(name), [])
        for name in captions:
            yield '', name, []

    def karpathy(self, path: Path, split: str) -> Iterator[tuple[str, Any, list[str]]]:
        for image in stream_items(path, 'images.item'):
            if image['split'] in KARPATHY[split]:
                texts = [sentence['raw'] for sentence in image['sentences']]
                yield f'{image["filepath"]}/{image["filename"]}', image['cocoid'], texts
