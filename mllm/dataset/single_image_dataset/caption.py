"""Stage 2 of a sample's way for captions: image -> one sentence. The metric is `mllm.metric.caption`.

Rows: {"img_path", "caption"}, or with all the captions of an image in `captions` (evaluation: they are the references).
"""

from __future__ import annotations

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, field, two_turns
from mllm.registry import DATASETS
from mllm.types import IMAGE_PLACEHOLDER, RawItem
from mllm.utils.rng import ItemRng


@DATASETS.register_module()
class CaptionDataset(MInstrDataset):
    """Question with <image>; the answer is the caption, in training one of `captions` at random."""

    placeholders = (IMAGE_PLACEHOLDER,)
    image_field = 'img_path'

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        captions = field(row, 'captions', list) if 'captions' in row else [field(row, 'caption', str)]
        if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
            raise ValueError(f'captions is {captions!r}; expected a list of sentences')
        caption = captions[int(rng('caption').integers(len(captions)))]
        ids = {'id': row['image_id']} if 'image_id' in row else {}
        return {
            'conversations': two_turns(self.get_template(rng), caption.strip()),
            'meta': {'references': [caption.strip() for caption in captions], **ids},
        }
