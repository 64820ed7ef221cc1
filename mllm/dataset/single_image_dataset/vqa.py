"""Stages 2 and 11 of a sample's way for visual questions with ten people's answers: VQAv2, OK-VQA, VQA-E, VQA-X.

VQAv2Dataset    {"image_path", "question", "question_id", "annotation": {"multiple_choice_answer", "answers": [...]}}
VQAEXDataset    {"file_path", "question"} with `explanation`, `multiple_answers` (VQA-E) or `justification`,
                `multiple_choice_answer` (VQA-X)
PureVQADataset  {"image_path", "question"}: nothing is known of the answer, predictions are all that is wanted
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, field, two_turns
from mllm.metric.answer import answer_of, normalise_vqa
from mllm.metric.base import Metric, TableRow
from mllm.metric.tables import numbers_by
from mllm.registry import DATASETS, METRICS
from mllm.types import IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, Prediction, RawItem
from mllm.utils.rng import ItemRng

UNKNOWN = 'UNKNOWN'
"""What stands for the answer of questions without annotation."""
AGREEMENT = 3
"""So many other people who gave an answer make it wholly right."""


class VQADataset(MInstrDataset):
    """A template with <question> and <image>."""

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)

    def ask(self, row: Row, rng: ItemRng) -> str:
        return self.get_template(rng).replace(QUESTION_PLACEHOLDER, field(row, 'question', str))


def ids_of(row: Row) -> dict[str, Any]:
    return {'id': row['question_id']} if 'question_id' in row else {}


def ten_answers(annotation: Row) -> dict[str, Any]:
    """What the metric needs of an official annotation."""
    given = field(annotation, 'answers', list) if 'answers' in annotation else []
    answers = [str(field(entry, 'answer', object) if isinstance(entry, Mapping) else entry) for entry in given]
    types = {key: annotation[key] for key in ('answer_type', 'question_type') if key in annotation}
    return ({'answers': answers} if answers else {}) | ({'types': types} if types else {})


@DATASETS.register_module()
class VQAv2Dataset(VQADataset):
    """Answer `The answer is {most common answer}.`, or UNKNOWN where `has_annotation` is False (official test sets)."""

    image_field = 'image_path'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        has_annotation: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.has_annotation = has_annotation

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        question, meta = self.ask(row, rng), ids_of(row)
        if not self.has_annotation:
            return {'conversations': two_turns(question, UNKNOWN), 'meta': meta}
        annotation = field(row, 'annotation', dict)
        meta |= ten_answers(annotation)
        if 'multiple_choice_answer' in annotation:
            answer = field(annotation, 'multiple_choice_answer', str)
        elif meta.get('answers'):
            answer = most_common(meta['answers'])
        else:
            raise ValueError('annotation has neither multiple_choice_answer nor answers')
        return {'conversations': two_turns(question, f'The answer is {answer}.'), 'meta': {'answer': answer, **meta}}


def most_common(answers: Sequence[str]) -> str:
    """Of equals the one given first."""
    return Counter(answers).most_common(1)[0][0]


@DATASETS.register_module()
class VQAEXDataset(VQADataset):
    """The explanation, then ` So the answer is {answer}.`; VQA-E if `is_e_dataset`, else VQA-X."""

    image_field = 'file_path'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        is_e_dataset: bool = True,
        has_annotation: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.is_e_dataset = is_e_dataset
        self.has_annotation = has_annotation

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        question, meta = self.ask(row, rng), ids_of(row)
        if not self.has_annotation:
            return {'conversations': two_turns(question, UNKNOWN), 'meta': meta}
        if self.is_e_dataset:
            reasons = field(row, 'explanation', list)[:1]
            answer = field(row, 'multiple_answers', str)
        else:
            reasons = field(row, 'justification', list)
            answer = field(row, 'multiple_choice_answer', str)
        if not reasons or not all(isinstance(reason, str) for reason in reasons):
            raise ValueError(f'the explanation is {reasons!r}; expected a list of sentences')
        text = f'{"".join(reasons)} So the answer is {answer}.'
        meta |= {'answer': answer, 'references': reasons, **ten_answers(row)}
        return {'conversations': two_turns(question, text), 'meta': meta}


@DATASETS.register_module()
class PureVQADataset(VQADataset):
    """Questions alone: the right answer is empty, so a run only predicts."""

    image_field = 'image_path'

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        return {'conversations': two_turns(self.ask(row, rng), ''), 'meta': ids_of(row)}


@METRICS.register_module()
class VQAComputeMetrics(Metric[str]):
    """The official soft accuracy (Antol et al., VQA, 2015): min(others who gave the answer / 3, 1), averaged over the
    people left out in turn, after the official normalisation of all answers.

    Reads of `meta`: `answers` (of several people; with one, or none beside `answer`, exact match) and `types`. Tables
    `by_answer_type` and `by_question_type`.
    """

    def extract(self, prediction: Prediction) -> str | None:
        return answer_of(prediction.pred)

    def score(self, value: str, prediction: Prediction) -> float:
        answers = prediction.meta.get('answers') or [prediction.meta.get('answer', answer_of(prediction.target) or '')]
        return soft_accuracy(value, answers)

    def tables(self, predictions: Sequence[Prediction]) -> dict[str, list[TableRow]]:
        def type_of(kind: str) -> Any:
            return lambda prediction: (prediction.meta.get('types') or {}).get(kind)

        kinds = ('answer_type', 'question_type')
        return {f'by_{kind}': numbers_by(kind, type_of(kind), self.compute, predictions) for kind in kinds}


def soft_accuracy(answer: str, answers: Sequence[str]) -> float:
    """See `VQAComputeMetrics`."""
    given, answer = [normalise_vqa(other) for other in answers], normalise_vqa(answer)
    if len(given) == 1:
        return float(given[0] == answer)
    matches = sum(other == answer for other in given)
    return sum(min((matches - (other == answer)) / AGREEMENT, 1.0) for other in given) / len(given)
