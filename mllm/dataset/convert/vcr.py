"""Before stage 1 of a sample's way: VCR -> rows of `vcr.VCRDataset`, with the boxes of each image's metadata."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.registry import CONVERTERS
from mllm.utils.line_file import LineFile

IMAGES = 'vcr1images'


@CONVERTERS.register_module('vcr')
class VCR(Converter):
    """vcr1annots/{split}.jsonl with vcr1images/{movie}/{frame}.json. Images of rows are relative to vcr1images."""

    splits = {name: (f'vcr1annots/{name}.jsonl', IMAGES) for name in ('train', 'val', 'test')}
    image_field = 'img_fn'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        lines = LineFile(str(self.root / self.splits[split][0]))
        metadata = functools.lru_cache(maxsize=64)(self.metadata)
        for number in range(len(lines)):
            row = lines[number]
            found = metadata(row['metadata_fn'])
            if found is None:
                yield Skip(f'image without metadata in {IMAGES}')
            elif len(found['boxes']) != len(row['objects']):
                yield Skip('objects and boxes differ in number')
            else:
                yield {**row, **{key: found[key] for key in ('boxes', 'height', 'width')}}

    def metadata(self, name: str) -> dict[str, Any] | None:
        path = self.root / IMAGES / name
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except json.JSONDecodeError as error:
            raise ValueError(f'{path}: not JSON ({error.msg}); fetch it again') from error
