"""Stages 2 and 11 of a sample's way for Visual Commonsense Reasoning: an answer and its reason, of four choices each.

Rows, as the converter writes them: those of the official files, with `boxes`, `height` and `width` of the image's
metadata. Tokens that are lists name objects of the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, choice_faults, field
from mllm.metric.answer import answer_of
from mllm.metric.base import Metric
from mllm.registry import DATASETS, METRICS
from mllm.types import BOXES_PLACEHOLDER, IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, Prediction, RawItem, Turn
from mllm.utils.rng import ItemRng

LETTERS = 'ABCD'
CHOOSE = 'You should decide on the best choice and output the corresponding letter.'
EXPLAIN = 'You should explain the reason for the above answer.'
CHOOSE_REASON = (
    'You should decide on the best choice that explains the above answer and output the corresponding letter.'
)
PLACEHOLDER_WARNING = 'WARNING: answer and rationale here are just placeholders. we have no real anno.'

Text = tuple[str, list[list[int]]]
"""Words with <boxes>, and the objects that each stands for."""


def join(*parts: Text | str) -> Text:
    """Parts with single blanks between them."""
    texts = [(part, []) if isinstance(part, str) else part for part in parts]
    return ' '.join(text for text, _ in texts), [group for _, groups in texts for group in groups]


def words(tokens: Sequence[Any]) -> Text:
    """Official tokens as text."""
    groups = [list(token) for token in tokens if isinstance(token, list)]
    return ' '.join(BOXES_PLACEHOLDER if isinstance(token, list) else str(token) for token in tokens), groups


def choices(options: Sequence[Sequence[Any]]) -> Text:
    return join(*(join(f'({letter})', words(option)) for letter, option in zip(LETTERS, options, strict=True)))


def letter(label: int) -> str:
    return f'The answer is ({LETTERS[label]}).'


class Problem:
    """The parts of a row that conversations are made of."""

    def __init__(self, row: Row, answer_label: int, rationale_label: int) -> None:
        self.row = row
        answers, reasons = field(row, 'answer_choices', list), field(row, 'rationale_choices', list)
        for key, label, options in (
            ('answer_label', answer_label, answers),
            ('rationale_label', rationale_label, reasons),
        ):
            if len(options) != len(LETTERS):
                raise ValueError(f'{len(options)} choices; expected {len(LETTERS)}')
            if not 0 <= label < len(LETTERS):
                raise ValueError(f'{key} is {label}; expected 0 to 3')
        self.question = join('QUESTION:', words(field(row, 'question', list)))
        self.options = join('\nOPTIONS:', choices(answers))
        self.reasons = choices(reasons)
        self.answer, self.reason = words(answers[answer_label]), words(reasons[rationale_label])
        self.answer_letter, self.reason_letter = letter(answer_label), letter(rationale_label)

    def turns(self, version: str) -> list[tuple[Text, Text]]:
        """Questions with their answers."""
        asked, chosen = self.question, join(self.question, self.options, CHOOSE)
        given = join(self.question, '\nANSWER:', self.answer)
        again = join('RATIONALE OPTIONS:', self.reasons, CHOOSE_REASON)
        answer, reason = self.answer, self.reason
        made: dict[str, list[tuple[Text | str, Text | str]]] = {
            'q-a': [(asked, answer)],
            'q-ra': [(asked, join(reason, answer))],
            'qc-a': [(chosen, self.answer_letter)],
            'qc-ra': [(chosen, join(reason, self.answer_letter))],
            'qc-rac': [(chosen, join(reason, answer, self.answer_letter))],
            'qa-r': [(join(given, EXPLAIN), reason)],
            'qac-r': [(join(given, '\nRATIONALE OPTIONS:', self.reasons, CHOOSE_REASON), self.reason_letter)],
            'q-a-q-r': [(asked, answer), (EXPLAIN, reason)],
            'qc-a-qc-r': [(chosen, self.answer_letter), (again, self.reason_letter)],
        }
        return [(join(question), join(reply)) for question, reply in made[version]]


@DATASETS.register_module()
class VCRDataset(MInstrDataset):
    """`version` says what is given and asked: q question, c choices, a answer, r reason (rationale)."""

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'img_fn'
    versions: ClassVar[Sequence[str]] = (
        *('q-a', 'q-ra', 'qc-a', 'qc-ra', 'qc-rac', 'qa-r', 'qac-r', 'q-a-q-r', 'qc-a-qc-r'),
    )

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        version: str = 'qc-a',
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.refuse(choice_faults('version', version, self.versions))
        self.version = version

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        labels = field(row, 'answer_label', int), field(row, 'rationale_label', int)
        return self.item_of(row, rng, *labels)

    def item_of(self, row: Row, rng: ItemRng, answer: int, reason: int) -> RawItem:
        pairs = Problem(row, answer, reason).turns(self.version)
        turns: list[Turn] = []
        for number, ((question, asked), (reply, told)) in enumerate(pairs):
            if number == 0:
                question = self.get_template(rng).replace(QUESTION_PLACEHOLDER, question)
            turns.append(Turn({'from': 'human', 'value': question, 'boxes_seq': asked}))
            turns.append(Turn({'from': 'gpt', 'value': reply, 'boxes_seq': told}))
        meta: dict[str, Any] = {'id': row.get('annot_id'), 'answer_label': answer, 'rationale_label': reason}
        if self.version in CHOSEN:
            meta['asked'] = CHOSEN[self.version]
            if self.version in ('qc-a', 'qac-r', 'qc-a-qc-r'):
                meta['candidates'] = [letter(label) for label in range(len(LETTERS))]
        boxes: list[Any] = [list(box)[:4] for box in field(row, 'boxes', list)]
        return {'target': {'boxes': boxes}, 'conversations': turns, 'meta': meta}


CHOSEN = {'qc-a': 'answer', 'qc-ra': 'answer', 'qc-rac': 'answer', 'qac-r': 'rationale', 'qc-a-qc-r': 'rationale'}
"""What the last letter of a version's answer chooses."""


@DATASETS.register_module()
class VCRPredDataset(VCRDataset):
    """The official test split, whose labels are not published. Versions with an answer given ask once for each of the
    four; all labels are placeholders, and the last answer says so.
    """

    versions: ClassVar[Sequence[str]] = ('qc-a', 'qc-ra', 'qc-rac', 'qac-r', 'qc-a-qc-r')
    with_answer = ('qac-r', 'qc-a-qc-r')

    @property
    def times(self) -> int:
        return len(LETTERS) if self.version in self.with_answer else 1

    def __len__(self) -> int:
        return super().__len__() * self.times

    def get_row(self, index: int) -> dict[str, Any]:
        row = super().get_row(index // self.times)
        assumed = index % self.times
        reasons = row.get('rationale_choices') or []
        if reasons and self.times > 1 and len(reasons) == len(LETTERS) and is_nested(reasons):
            row['rationale_choices'] = reasons[assumed]
        return {**row, 'answer_label': assumed, 'rationale_label': 0}

    def describe(self, index: int) -> str:
        return self.rows.where(index // self.times)

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        item = super().make_item(row, rng)
        last = item['conversations'][-1]
        last['value'] += PLACEHOLDER_WARNING
        item['meta'] = {'id': row.get('annot_id'), 'assumed_answer': row['answer_label']}
        return item


def is_nested(reasons: Sequence[Any]) -> bool:
    """Whether the official test file gives four rationales for each of the four answers."""
    return all(
        isinstance(group, list) and len(group) == len(LETTERS) and isinstance(group[0], list) for group in reasons
    )


@METRICS.register_module()
class VCRComputeMetrics(Metric[str]):
    """Accuracy of the chosen letter: of the answer (Q -> A), or of the rationale (QA -> R) where a version asks for it.

    An answer is its last letter in brackets, or a letter alone.
    """

    def extract(self, prediction: Prediction) -> str | None:
        found = re.findall(r'\(([A-D])\)', prediction.pred)
        if found:
            return found[-1]
        alone = re.fullmatch(r'([A-D])[.)]?', answer_of(prediction.pred) or '')
        return alone[1] if alone else None

    def score(self, value: str, prediction: Prediction) -> float:
        if 'asked' not in prediction.meta:
            raise ValueError(f'sample {prediction.index} asks for no choice; use a version with c, such as qc-a')
        return float(value == LETTERS[prediction.meta[f'{prediction.meta["asked"]}_label']])
