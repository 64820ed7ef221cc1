"""Stage 2 of a sample's way for questions and grounded explanations written by a language model (Shikra-RD).

Rows: {"img_path", "boxes", "question", "question_boxes_seq", "answer", "cot_with_ans", "answer_boxes_seq"}; phrases of
question and explanation are marked.
"""

from __future__ import annotations

from typing import Literal, get_args

from mllm.dataset.single_image_dataset.base import BoxUnit, MInstrDataset, Row, field, two_turns
from mllm.dataset.single_image_dataset.phrases import plain, with_boxes
from mllm.registry import DATASETS, nearest
from mllm.types import IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, RawItem
from mllm.utils.faults import FaultsError
from mllm.utils.rng import ItemRng

Version = Literal['a', 'c', 'bc']


@DATASETS.register_module()
class GPT4Gen(MInstrDataset):
    """`version` 'a': the answer alone; 'c': with its explanation; 'bc': with boxes behind the explanation's phrases."""

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'img_path'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
        box_unit: BoxUnit | None = None,
        version: Version = 'a',
    ) -> None:
        super().__init__(filename, image_folder, template_string, template_file, max_dynamic_size, box_unit)
        if version not in get_args(Version):
            raise FaultsError([f'version={version!r}{nearest(str(version), get_args(Version))}', *self.problems()])
        self.version = version

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        asked_boxes = field(row, 'question_boxes_seq', list)
        asked = with_boxes(field(row, 'question', str), asked_boxes)
        question = self.get_template(rng).replace(QUESTION_PLACEHOLDER, asked)
        places = {'question_boxes': asked_boxes}
        if self.version == 'a':
            answer = field(row, 'answer', str)
        elif self.version == 'c':
            answer = plain(field(row, 'cot_with_ans', str))
        else:
            places['answer_boxes'] = field(row, 'answer_boxes_seq', list)
            answer = with_boxes(field(row, 'cot_with_ans', str), places['answer_boxes'])
        return {'target': {'boxes': field(row, 'boxes', list)}, 'conversations': two_turns(question, answer, **places)}
