"""Before stage 1 of a sample's way: ISEKAI-10 and ISEKAI-pair -> rows of `link_context.ISEKAIEval2Way`.

A local copy of the data set as Hugging Face has it: a folder with images, and a file of rows among them or a sub-folder
of images for each class.
"""

from __future__ import annotations

from collections.abc import Iterator

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.single_image_dataset.query_bank import IsekaiBank
from mllm.registry import CONVERTERS


@CONVERTERS.register_module('isekai')
class ISEKAI(Converter):
    """Rows with the keys as published, in the order of the files; image paths are relative to the split's folder."""

    splits = {name: (name,) for name in ('ISEKAI-10', 'ISEKAI-pair')}
    image_field = 'image_name'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        bank = IsekaiBank(str(self.root / split))
        for index in range(len(bank)):
            row = bank[index]
            yield {
                'image_name': row.query,
                'positive_list': list(row.supports[0]),
                'negative_list': list(row.supports[1]),
                'positive_promt': row.labels[0],
                'negative_promt': row.labels[1],
                'label_name': row.label,
            }
