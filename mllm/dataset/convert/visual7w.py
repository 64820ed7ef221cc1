"""Before stage 1 of a sample's way: Visual7W pointing -> rows of `visual7w.Visual7WPointing`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items
from mllm.registry import CONVERTERS

FILE = 'dataset_v7w_pointing.json'


@CONVERTERS.register_module('visual7w')
class Visual7W(Converter):
    """The right box comes first among the candidates of a row; the dataset shuffles them. The point is its centre.

    Sizes of images are not in the files, so boxes are only cut off at 0; the reader of rows cuts them at the image.
    """

    splits = dict.fromkeys(('train', 'val', 'test'), (FILE,))
    image_field = 'file_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        boxes = {entry['box_id']: entry for entry in stream_items(self.root / FILE, 'boxes.item')}
        for image in stream_items(self.root / FILE, 'images.item'):
            if image['split'] == split:
                for pair in image['qa_pairs']:
                    yield self.row(pair, image, boxes)

    def row(self, pair: Mapping[str, Any], image: Mapping[str, Any], boxes: Mapping[Any, Any]) -> Row | Skip:
        names = [pair['answer'], *pair['multiple_choices']]
        if any(name not in boxes for name in names):
            return Skip('a candidate is not among the boxes')
        candidates = []
        for name in names:
            entry = boxes[name]
            box = [entry['x'], entry['y'], entry['x'] + entry['width'], entry['y'] + entry['height']]
            if entry['width'] <= 0 or entry['height'] <= 0 or box[2] <= 0 or box[3] <= 0:
                return Skip('a candidate is no box of the image')
            cut = [max(value, 0) for value in box]
            self.clipped += cut != box
            candidates.append(cut)
        x0, y0, x1, y1 = candidates[0]
        return {
            'qa_id': pair['qa_id'],
            'genome_id': image['image_id'],
            'file_path': image['filename'],
            'question': pair['question'],
            'candidates': candidates,
            'answer': candidates[0],
            'point': [(x0 + x1) / 2, (y0 + y1) / 2],
        }
