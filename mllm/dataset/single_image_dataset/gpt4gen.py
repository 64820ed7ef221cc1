"""Stage 2 of a sample's way for questions and grounded explanations written by a language model (Shikra-RD).

Rows: {"img_path", "boxes", "question", "question_boxes_seq", "answer", "cot_with_ans", "answer_boxes_seq"}; phrases of
question and explanation are marked.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, choice_faults, field, two_turns
from mllm.dataset.single_image_dataset.phrases import plain, with_boxes
from mllm.registry import DATASETS
from mllm.types import IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, RawItem
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
        *,
        version: Version = 'a',
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.refuse(choice_faults('version', version, get_args(Version)))
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
