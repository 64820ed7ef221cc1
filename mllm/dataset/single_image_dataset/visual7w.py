"""Stages 2 and 11 of a sample's way for Visual7W pointing: which of four boxes answers a question?

Rows: {"file_path", "question", "candidates": [box, ...], "answer": a box equal to one of them, "point"}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, choice_faults, field, two_turns
from mllm.metric.base import Metric
from mllm.metric.grounding import answered_boxes, answered_points, box_iou, build_formatter, contains
from mllm.registry import DATASETS, METRICS
from mllm.types import (
    BOXES_PLACEHOLDER,
    IMAGE_PLACEHOLDER,
    POINTS_PLACEHOLDER,
    QUESTION_PLACEHOLDER,
    Box,
    Point,
    Prediction,
    RawItem,
)
from mllm.utils.rng import ItemRng

Version = Literal['p', 'b']


@DATASETS.register_module('V7W_POINT')
class Visual7WPointing(MInstrDataset):
    """`version` 'p': the answer is the point of the right candidate; 'b': its box. `do_shuffle_choice` shuffles the
    candidates of a question.
    """

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'file_path'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        version: Version = 'p',
        do_shuffle_choice: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.refuse(choice_faults('version', version, get_args(Version)))
        self.version = version
        self.do_shuffle_choice = do_shuffle_choice

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        candidates, answer = field(row, 'candidates', list), field(row, 'answer', list)
        if answer not in candidates:
            raise ValueError(f'answer {answer} is none of the candidates {candidates}')
        order = list(range(len(candidates)))
        if self.do_shuffle_choice:
            rng('choices').shuffle(order)
        form = 'point' if self.version == 'p' else 'box'
        places = ' '.join([BOXES_PLACEHOLDER] * len(candidates))
        asked = f'{field(row, "question", str)} Candidates: {places} answer in {form} format.'
        question = self.get_template(rng).replace(QUESTION_PLACEHOLDER, asked)
        right = candidates.index(answer)
        given: dict[str, Any] = {'question_boxes': [[number] for number in order]}
        if self.version == 'p':
            given['answer_points'] = [[0]]
            points = [field(row, 'point', list)]
        else:
            given['answer_boxes'] = [[right]]
            points = []
        placeholder = POINTS_PLACEHOLDER if self.version == 'p' else BOXES_PLACEHOLDER
        return {
            'target': {'boxes': candidates, 'points': points},
            'conversations': two_turns(question, f'The answer is {placeholder} .', **given),
            'meta': {'right_choice': right, **({'id': row['qa_id']} if 'qa_id' in row else {})},
        }


@METRICS.register_module()
class V7WComputeMetrics(Metric[int]):
    """Choice accuracy: the answered box or point is taken for the candidate that it fits best.

    A box is taken for the candidate of the highest IoU; a point for the one, of those that hold it, whose centre is
    nearest (the right answer is a centre, and candidates lie within one another). Where several fit equally well and
    are other boxes, or none fits at all, nothing is chosen (a parse failure). An answer must hold one box or one point.
    Reads of `meta`: `target_boxes` (of the encoder: the candidates), `right_choice`.
    """

    def __init__(self, formatter: Mapping[str, Any] | None = None) -> None:
        self.formatter = build_formatter(formatter)

    def extract(self, prediction: Prediction) -> int | None:
        candidates = self.candidates(prediction)
        boxes = [box for group in answered_boxes(prediction, self.formatter) for box in group]
        points = [point for group in answered_points(prediction, self.formatter) for point in group]
        if len(boxes) == 1 and not points:
            return best([box_iou(boxes[0], candidate) for candidate in candidates], candidates)
        if len(points) == 1 and not boxes:
            return best([fit(points[0], candidate) for candidate in candidates], candidates)
        return None

    def candidates(self, prediction: Prediction) -> list[list[float]]:
        return prediction.meta['target_boxes']

    def score(self, value: int, prediction: Prediction) -> float:
        candidates = self.candidates(prediction)
        return float(candidates[value] == candidates[prediction.meta['right_choice']])


def fit(point: Point, box: Box) -> float:
    """How well a box fits a point: not at all outside it, else the better the nearer its centre is."""
    distance = math.hypot((box[0] + box[2]) / 2 - point[0], (box[1] + box[3]) / 2 - point[1])
    return 1 / (1 + distance) if contains(box, point) else 0.0


def best(fits: Sequence[float], candidates: Sequence[Box]) -> int | None:
    """The candidate that fits best; None if none does, or two other ones equally."""
    highest = max(fits, default=0.0)
    chosen = [number for number, value in enumerate(fits) if value == highest]
    same = all(candidates[number] == candidates[chosen[0]] for number in chosen)
    return chosen[0] if highest > 0 and same else None
