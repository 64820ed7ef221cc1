"""Before stage 1 of a sample's way: POPE -> rows of `pope.POPEVQADataset`, from JSON Lines or (SEEM) arrays."""

from __future__ import annotations

from collections.abc import Iterator

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.registry import CONVERTERS
from mllm.utils.json_rows import open_rows

KINDS = ('random', 'popular', 'adversarial')
SETS = {'coco': 'coco/coco_pope', 'aokvqa': 'seem/aokvqa/aokvqa_pope_seem', 'gqa': 'seem/gqa/gqa_pope_seem'}
FIELDS = ('question_id', 'image', 'text', 'label')


@CONVERTERS.register_module('pope')
class POPE(Converter):
    """The files of the folder `output` of the release, checked and put into one form."""

    splits = {f'{name}_{kind}': (f'{path}_{kind}.json',) for name, path in SETS.items() for kind in KINDS}
    image_field = 'image'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        rows = open_rows(str(self.root / self.splits[split][0]))
        for index in range(len(rows)):
            row = rows[index]
            missing = [key for key in FIELDS if key not in row]
            if missing:
                raise ValueError(f'{rows.where(index)}: no {missing[0]!r}; is it another file?')
            if row['label'].lower() not in ('yes', 'no'):
                yield Skip(f'label is {row["label"]!r}')
            else:
                yield {key: row[key] for key in FIELDS} | {'label': row['label'].lower()}
