"""Stages 2 and 11 of a sample's way for PointQA: questions about the thing at a point, or in a box.

Point_QA_local   what is asked concerns the thing alone      "What color is this shirt?"
Point_QA_twice   it concerns all things of its kind          "How many of these are there?"

Rows: {"file_path", "question", "answer", "bbox", "point"}; of twice in place of `question` the three `obj_question`,
`super_question`, `general_question`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, choice_faults, field, two_turns
from mllm.metric.answer import GQAComputeMetrics, right_answer
from mllm.metric.grounding import build_formatter
from mllm.registry import DATASETS, METRICS
from mllm.types import (
    BOXES_PLACEHOLDER,
    IMAGE_PLACEHOLDER,
    POINTS_PLACEHOLDER,
    QUESTION_PLACEHOLDER,
    Prediction,
    RawItem,
)
from mllm.utils.rng import ItemRng

PLACES = ('b', 'p', 'bp')
"""What a question shows: the box, the point, or one of the two at random."""
LEGACY = re.compile(r'The answer is (.+?)\.')
TOLERANCE = 0.0015
"""Places that differ by the rounding of the written format are one."""


class PointQADataset(MInstrDataset):
    """What the two have in common: a subclass names its `versions` and chooses one."""

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'file_path'
    versions: ClassVar[Mapping[str, tuple[str, str]]]
    """version -> (field of the question, what it shows)"""

    def choose(self, version: str, bp_probability: float) -> None:
        """Take a version; FaultsError for one that there is not."""
        faults = choice_faults('version', version, self.versions)
        if not 0 <= bp_probability <= 1:
            faults.append(f'probability of the point is {bp_probability}; expected 0 to 1')
        self.refuse(faults)
        self.question_field, self.shows = self.versions[version]
        self.bp_probability = bp_probability

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        asked = field(row, self.question_field, str)
        shows_point = self.shows == 'p'
        if self.shows == 'bp':
            shows_point = float(rng('shows').random()) < self.bp_probability
        asked += POINTS_PLACEHOLDER if shows_point else BOXES_PLACEHOLDER
        question = self.get_template(rng).replace(QUESTION_PLACEHOLDER, asked)
        answer = str(field(row, 'answer', (str, int)))
        places = {'question_points' if shows_point else 'question_boxes': [[0]]}
        target = {'points': [field(row, 'point', list)]} if shows_point else {'boxes': [field(row, 'bbox', list)]}
        return {
            'target': target,  # type: ignore[typeddict-item]
            'conversations': two_turns(question, f'The answer is {answer} .', **places),
            'meta': {'answer': answer, **{key: row[key] for key in ('qa_id', 'id', 'obj_type') if key in row}},
        }


@DATASETS.register_module('Point_QA_local')
class PointQALocal(PointQADataset):
    """`version` 'p' (point), 'b' (box) or 'bp' (with `qbp_p_prob` the point, else the box)."""

    versions: ClassVar = {shows: ('question', shows) for shows in PLACES}

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        version: str = 'p',
        qbp_p_prob: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.choose(version, qbp_p_prob)


@DATASETS.register_module('Point_QA_twice')
class PointQATwice(PointQADataset):
    """`version` is the question, a hyphen, and what it shows: 'oq' names the thing's kind, 'sq' its super-class, 'gq'
    neither; 'p', 'b' or 'bp' (with `bp_p_prob` the point, else the box).
    """

    versions: ClassVar = {
        f'{name}-{shows}': (f'{kind}_question', shows)
        for name, kind in (('oq', 'obj'), ('sq', 'super'), ('gq', 'general'))
        for shows in PLACES
    }

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        version: str = 'gq-p',
        bp_p_prob: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.choose(version, bp_p_prob)


@METRICS.register_module()
class PointQAComputeMetrics(GQAComputeMetrics):
    """As `GQAComputeMetrics`; an answer that is a place equals one that its written form rounds to.

    `legacy_accuracy` is the released rule: from "The answer is" to the first full stop, even one within a number.
    """

    @staticmethod
    def legacy(text: str) -> str | None:
        found = LEGACY.findall(text)
        return found[0] if len(found) == 1 else None

    def __init__(self, formatter: Mapping[str, Any] | None = None) -> None:
        self.formatter = build_formatter(formatter)

    def score(self, value: str, prediction: Prediction) -> float:
        answered, right = self.places(value), self.places(right_answer(prediction))
        if answered and len(answered) == len(right):
            return float(all(abs(one - other) <= TOLERANCE for one, other in zip(answered, right, strict=True)))
        return super().score(value, prediction)

    def places(self, text: str) -> list[float]:
        """All coordinates written in a text, in order: those of boxes, then those of points."""
        groups = [*self.formatter.extract_boxes(text), *self.formatter.extract_points(text)]
        return [value for group in groups for place in group for value in place]
