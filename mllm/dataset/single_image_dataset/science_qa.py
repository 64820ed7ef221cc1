"""Stages 2 and 11 of a sample's way for ScienceQA: multiple choice, about half of it without an image.

Rows: {"id", "image_path" (or null), "question", "choices", "answer" (a letter), "hint", "lecture", "solution",
"subject", "grade", "split"}.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, field, two_turns
from mllm.metric.answer import answer_of, normalise_vqa
from mllm.metric.base import Metric, TableRow
from mllm.metric.tables import numbers_by
from mllm.registry import DATASETS, METRICS
from mllm.types import IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, Prediction, RawItem
from mllm.utils.rng import ItemRng

LETTERS = 'ABCDEFGHIJ'
SUBJECTS = {'natural science': 'NAT', 'social science': 'SOC', 'language science': 'LAN'}
CONTEXTS = ('TXT', 'IMG', 'NO')
FIRST = re.compile(r'(?:[Oo]ption |[Cc]hoice )?([A-J])(?:$|[.:,)]\s*$|[.:)]\s)')
"""A letter alone, or with the text of its choice behind it, as in "B. a magnet"."""
WITHIN = re.compile(r'\(([A-J])\)')


@DATASETS.register_module()
class ScienceQADataset(MInstrDataset):
    """The question with its context and choices, `(A) ... (B) ...`; answer `The answer is (B).`

    with_hint, with_lecture   give them before the question
    with_solution             the answer is preceded by the solution, `{solution} So the answer is (B).`

    Problems without image are asked as they are: a template speaks of one.
    """

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'image_path'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        with_hint: bool = True,
        with_lecture: bool = False,
        with_solution: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.with_hint = with_hint
        self.with_lecture = with_lecture
        self.with_solution = with_solution

    def image_path(self, row: Row) -> str | None:
        return None if row.get(self.image_field) is None else super().image_path(row)

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        choices, letter = field(row, 'choices', list), field(row, 'answer', str)
        if not 1 <= len(choices) <= len(LETTERS):
            raise ValueError(f'there are {len(choices)} choices; expected 1 to {len(LETTERS)}')
        letters = LETTERS[: len(choices)]
        if letter not in list(letters):
            raise ValueError(f'answer is {letter!r}; expected one of the letters {", ".join(letters)} of the choices')
        template = QUESTION_PLACEHOLDER if self.image_path(row) is None else self.get_template(rng)
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

    def context(self, row: Row) -> list[str]:
        """TXT, IMG, both, or NO: a problem with hint and image counts in both columns of the published tables."""
        there = {'TXT': bool(row.get('hint')), 'IMG': self.image_path(row) is not None}
        return [name for name, found in there.items() if found] or ['NO']


def comparable(text: str) -> str:
    """The normal form of a choice's text; of one that is nothing but an article, the text itself."""
    return normalise_vqa(text) or text.strip().lower()


def grades(grade: object) -> str | None:
    """'grade7' -> 'G7-12'."""
    number = re.search(r'\d+', str(grade))
    return None if number is None else 'G1-6' if int(number[0]) <= 6 else 'G7-12'


@METRICS.register_module()
class ScienceQAComputeMetrics(Metric[str]):
    """Accuracy of the chosen letter; tables by subject, context (a problem may have two) and grade.

    An answer is the one letter in brackets, else a letter at its beginning, else the text of one of `meta['choices']`,
    else a small letter. Letters that are no choice are parse failures.
    """

    def extract(self, prediction: Prediction) -> str | None:
        answer, choices = answer_of(prediction.pred), prediction.meta['choices']
        if answer is None:
            return None
        letters = LETTERS[: len(choices)]
        if named := set(WITHIN.findall(answer)):
            return named.pop() if len(named) == 1 and named <= set(letters) else None
        first = FIRST.match(answer)
        if first and first[1] in letters:
            return first[1]
        texts = [comparable(str(choice)) for choice in choices]
        if texts.count(comparable(answer)) == 1:
            return letters[texts.index(comparable(answer))]
        small = answer.strip('().:, ').upper()
        return small if small in list(letters) else None

    def score(self, value: str, prediction: Prediction) -> float:
        return float(value == prediction.meta['answer'])

    def tables(self, predictions: Sequence[Prediction]) -> dict[str, list[TableRow]]:
        def meta(name: str) -> Any:
            return lambda prediction: prediction.meta.get(name)

        def within(context: str) -> Any:
            return lambda prediction: context if context in prediction.meta.get('context', ()) else None

        tables = {
            f'by_{name}': numbers_by(name, meta(name), self.compute, predictions) for name in ('subject', 'grade')
        }
        contexts = [numbers_by('context', within(name), self.compute, predictions) for name in CONTEXTS]
        return {**tables, 'by_context': [row for rows in contexts for row in rows]}
