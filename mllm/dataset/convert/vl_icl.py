"""Before stage 1 of a sample's way: VL-ICL Bench -> the same rows, one a line, checked.

`vl_icl.VLICLDataset` reads the bench as it is; converted files show its rows to tools that read JSON Lines.
"""

from __future__ import annotations

from collections.abc import Iterator

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items
from mllm.dataset.single_image_dataset.vl_icl import TASKS, answer_for, image_paths
from mllm.registry import CONVERTERS


@CONVERTERS.register_module('vl_icl')
class VLICL(Converter):
    """{task}/query.json and support.json; rows gain `image_path`, the first image, and `target`, the answer."""

    splits = {f'{task}_{part}': (f'{task}/{part}.json',) for task in TASKS for part in ('query', 'support')}
    image_field = 'image_path'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        for row in stream_items(self.root / self.splits[split][0]):
            if 'answer' not in row:
                # matching_mi has pairs of supports.
                yield row if 'same' in row else Skip('no answer')
                continue
            target = answer_for(row['answer'], row.get('operator')) if 'operator' in row else row['answer']
            yield {**row, 'image_path': image_paths(row)[0], 'target': target}
