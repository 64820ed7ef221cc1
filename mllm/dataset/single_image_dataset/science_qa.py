"""Stages 2 and 11 of a sample's way for ScienceQA: multiple choice, about half of it without an image.

Rows: {"id", "image_path" (or null), "question", "choices", "answer" (a letter), "hint", "lecture", "solution",
"subject", "grade", "split"}.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mllm.dataset.single_image_dataset.base import BoxUnit, MInstrDataset, Row, field, two_turns
from mllm.metric.answer import answer_of, normalise_vqa
from mllm.metric.base import Metric, TableRow
from mllm.metric.tables import numbers_by
from mllm.registry import DATASETS, METRICS
from mllm.types import IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, Prediction, RawItem
from mllm.utils.rng import ItemRng

LETTERS = 'ABCDEFGHIJ'
SUBJECTS = {'natural science': 'NAT', 'social science': 'SOC', 'language science': 'LAN'}
ALONE = re.compile(r'\(?([A-J])\)?[.:,]?', re.IGNORECASE)
WITHIN = re.compile(r'\(([A-J])\)')


@DATASETS.register_module()
class ScienceQADataset(MInstrDataset):
    """The question with its context and choices, `(A) ... (B) ...`; answer `The answer is (B).`

    with_hint, with_lecture   give them before the question
    with_solution             the answer is preceded by the solution, `{solution} So the answer is (B).`

    Of problems without image the question is the template without <image>.
    """

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'image_path'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
        box_unit: BoxUnit | None = None,
        with_hint: bool = True,
        with_lecture: bool = False,
        with_solution: bool = False,
    ) -> None:
        super().__init__(filename, image_folder, template_string, template_file, max_dynamic_size, box_unit)
        self.with_hint = with_hint
        self.with_lecture = with_lecture
        self.with_solution = with_solution

    def image_path(self, row: Row) -> str | None:
        return None if row.get(self.image_field) is None else super().image_path(row)

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        choices, letter = field(row, 'choices', list), field(row, 'answer', str)
        letters = LETTERS[: len(choices)]
        if letter not in letters or not letter:
            raise ValueError(f'answer is {letter!r}; expected one of the letters {", ".join(letters)} of the choices')
        template = self.get_template(rng)
        if self.image_path(row) is None:
            template = ' '.join(template.replace(IMAGE_PLACEHOLDER, '').split())
        answer = f'The answer is ({letter}).'
        if self.with_solution and row.get('solution'):
            answer = f'{row["solution"].strip()} So the answer is ({letter}).'
        return {
            'conversations': two_turns(template.replace(QUESTION_PLACEHOLDER, self.ask(row, letters)), answer),
            'meta': {
                'id': row.get('id'),
                'answer': letter,
                'choices': choices,
                'candidates': [answer] if self.with_solution else [f'The answer is ({name}).' for name in letters],
                'subject': SUBJECTS.get(str(row.get('subject')), row.get('subject')),
                'context': self.context(row),
                'grade': grades(row.get('grade')),
            },
        }

    def ask(self, row: Row, letters: str) -> str:
        given = [row.get('lecture') if self.with_lecture else None, row.get('hint') if self.with_hint else None]
        choices = ' '.join(f'({letter}) {choice}' for letter, choice in zip(letters, row['choices'], strict=True))
        parts = [*(f'Context: {text.strip()}' for text in given if text), field(row, 'question', str)]
        return '\n'.join([*parts, f'Options: {choices}'])

    def context(self, row: Row) -> str:
        """IMG, TXT or NO, as the published tables have it (an image counts before a text)."""
        if self.image_path(row) is not None:
            return 'IMG'
        return 'TXT' if row.get('hint') else 'NO'


def grades(grade: object) -> str | None:
    """'grade7' -> 'G7-12'."""
    number = re.search(r'\d+', str(grade))
    return None if number is None else 'G1-6' if int(number[0]) <= 6 else 'G7-12'


@METRICS.register_module()
class ScienceQAComputeMetrics(Metric[str]):
    """Accuracy of the chosen letter; tables by subject, context and grade.

    An answer is a letter alone, the one letter in brackets, or the text of one of `meta['choices']`.
    """

    def extract(self, prediction: Prediction) -> str | None:
        answer, choices = answer_of(prediction.pred), prediction.meta['choices']
        if answer is None:
            return None
        texts = [normalise_vqa(str(choice)) for choice in choices]
        if texts.count(normalise_vqa(answer)) == 1:
            return LETTERS[texts.index(normalise_vqa(answer))]
        named = set(WITHIN.findall(answer)) or {match[1].upper() for match in [ALONE.fullmatch(answer)] if match}
        letter = named.pop() if len(named) == 1 else ''
        return letter if letter and letter in LETTERS[: len(choices)] else None

    def score(self, value: str, prediction: Prediction) -> float:
        return float(value == prediction.meta['answer'])

    def tables(self, predictions: Sequence[Prediction]) -> dict[str, list[TableRow]]:
        def meta(name: str) -> Any:
            return lambda prediction: prediction.meta.get(name)

        names = ('subject', 'context', 'grade')
        return {f'by_{name}': numbers_by(name, meta(name), self.compute, predictions) for name in names}
