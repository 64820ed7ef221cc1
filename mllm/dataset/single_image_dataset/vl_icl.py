"""Stages 2, 3 and 11 of a sample's way for VL-ICL Bench: few-shot tasks that only the prompt explains.

    {root}/{task}/query.json and support.json, images relative to root

open_mi              name the class of an image among classes with invented names, each shown
operator_induction   the result of an unwritten operator: + - or x, to be induced from the supports
clevr                how many objects have an attribute that the question names
textocr              read the marked word
matching_mi          do two images show the same thing: yes or no
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mllm.dataset.few_shot import key_of
from mllm.dataset.single_image_dataset.base import Row, choice_faults, field, two_turns
from mllm.dataset.single_image_dataset.drawing import shuffled
from mllm.dataset.source import ImageFile, Source
from mllm.metric.answer import answer_of, right_answer
from mllm.metric.base import Metric, Numbers, rate
from mllm.registry import DATASETS, METRICS
from mllm.types import IMAGE_PLACEHOLDER, Episode, Prediction, RawItem
from mllm.utils.faults import FaultsError
from mllm.utils.image_io import load_image
from mllm.utils.json_rows import open_rows
from mllm.utils.rng import ItemRng

TASKS = ('open_mi', 'operator_induction', 'clevr', 'textocr', 'matching_mi')
COUNTED = ('operator_induction', 'clevr')
"""Tasks whose answers are numbers."""
MINUS = '\u2212'
OPERATORS = ('+', '-', 'x')
WAYS = 2
"""Classes shown in an episode of open_mi: the right one and another, as the bench does."""
INSTRUCTIONS = {
    'open_mi': 'Name what the last image shows with one of the words of the examples.',
    'operator_induction': 'The image shows two numbers and an operation between them. Induce the operation from the '
    'examples and calculate the result.',
    'clevr': 'The image holds objects of several shapes, colours, sizes and materials. Find out from the examples what '
    'is counted, and answer with a number.',
    'textocr': 'Read the word that the red frame marks.',
    'matching_mi': 'Find out from the examples what the two images have to share, and answer yes or no.',
}


@DATASETS.register_module()
class VLICLDataset(Source):
    """Episodes of one task of the bench.

    root        the folder of the bench
    task        one of TASKS
    shots       as the bench counts: supports per class in open_mi, pairs of a 'yes' and a 'no' in matching_mi
    instruction   put before the first question; True for a text of ours, False for none

    Supports are a function of the query's number alone, and k of them the first of those of more shots.
    """

    def __init__(self, root: str, task: str, shots: int = 1, instruction: bool | str = True) -> None:
        faults = choice_faults('task', task, TASKS)
        if isinstance(shots, bool) or not isinstance(shots, int) or shots < 0:
            faults.append(f'shots={shots!r}: expected a number from 0 on')
        if faults:
            raise FaultsError(faults)
        self.root, self.task, self.shots = root, task, shots
        self.instruction = INSTRUCTIONS[task] if instruction is True else str(instruction or '')
        self.queries = open_rows(f'{root}/{task}/query.json')
        self.supports = open_rows(f'{root}/{task}/support.json') if self.needs_pool else None

    @property
    def needs_pool(self) -> bool:
        """Whether supports are drawn from a file of their own; in open_mi each query has its own."""
        return self.task != 'open_mi' and self.shots > 0

    def __len__(self) -> int:
        return len(self.queries)

    def describe(self, index: int) -> str:
        return self.queries.where(index)

    def problems(self) -> Iterator[str]:
        if self.supports is not None and len(self.supports) < self.shots:
            yield f'{self.root}/{self.task}/support.json: {len(self.supports)} rows, and shots is {self.shots}'

    def images(self) -> Iterator[ImageFile]:
        """Every image that a row names; rows of another form are passed over, their episodes tell."""
        for rows in (self.queries, *([] if self.supports is None else [self.supports])):
            for index in range(len(rows)):
                try:
                    paths = [path for row in shown_rows(rows[index]) for path in image_paths(row)]
                except (ValueError, LookupError, TypeError, AttributeError):
                    continue
                for path in paths:
                    yield ImageFile(path, self.root, rows.where(index))

    def episode(self, index: int, rng: ItemRng) -> Episode:
        query = self.queries[index]
        drawn = ItemRng(0, 0, index)
        support = self.open_mi(query, drawn) if self.task == 'open_mi' else self.pooled(query, drawn)
        operator = query.get('operator')
        items = [self.item(row, operator) for row in support]
        asked = self.item(query, operator)
        first = items[0] if items else asked
        if self.instruction:
            first['conversations'][0]['value'] = f'{self.instruction}\n{first["conversations"][0]["value"]}'
        meta = {
            **(asked.get('meta') or {}),
            'shot': self.shots,
            'support': [dict(item.get('meta') or {}) for item in items],
            'support_key': key_of([hash_of(row) for row in support]) if support else f'none {index}',
        }
        return Episode(asked, tuple(items), meta=meta)

    def pooled(self, query: Row, rng: ItemRng) -> list[Row]:
        """`shots` supports of the file in random order, without those that show an image of the query."""
        if self.supports is None:
            return []
        shown, chosen, count = set(image_paths(query)), list[Row](), 0
        for position in shuffled(range(len(self.supports)), rng('supports')):
            if count == self.shots:
                break
            rows = support_rows(self.supports[position])
            if all(shown.isdisjoint(image_paths(row)) for row in rows):
                chosen += rows
                count += 1
        if count < self.shots:
            raise ValueError(f'{count} supports fit this query, and shots is {self.shots}')
        return chosen

    def open_mi(self, query: Row, rng: ItemRng) -> list[Row]:
        """`shots` images of the right class and of another one, alternating as the bench does."""
        support, right = field(query, 'support', dict), field(query, 'answer', str)
        others = [name for name in field(query, 'classes', list) if name != right]
        names = [right, *shuffled(others, rng('classes'))[: WAYS - 1]]
        for name in names if self.shots else ():
            images = field(field(support, name, dict), 'images', list)
            if len(images) < self.shots:
                raise ValueError(f'class {name!r} has too few supports ({len(images)}) for shots={self.shots}')
        names = shuffled(names, rng('order'))
        return [
            {'image': [support[name]['images'][shot]], 'question': query['question'], 'answer': name}
            for shot in range(self.shots)
            for name in names
        ]

    def item(self, row: Row, operator: object) -> RawItem:
        images = [load_image(path, self.root) for path in image_paths(row)]
        answer = answer_for(field(row, 'answer', (str, int, float, list)), operator)
        question = f'{IMAGE_PLACEHOLDER}' * len(images) + str(row.get('question', ''))
        meta = {'answer': answer, 'image_path': image_paths(row), 'task': self.task}
        if 'id' in row:
            meta['id'] = row['id']
        if self.task == 'open_mi' and 'classes' in row:
            meta['candidates'] = list(row['classes'])
        return {'image': images, 'conversations': two_turns(question, answer), 'meta': meta}


def image_paths(row: Row) -> list[str]:
    paths = field(row, 'image', (str, list))
    return [paths] if isinstance(paths, str) else list(paths)


def shown_rows(row: Row) -> list[Row]:
    """What has images in a row of any task: itself, or the two of a pair, and the supports that it brings along."""
    own = [{'image': shown['images']} for shown in row.get('support', {}).values()]
    return [*support_rows(row), *own]


def support_rows(row: Row) -> list[Row]:
    """A support, or the two of a pair of matching_mi."""
    if 'same' not in row:
        return [row]
    return [{**row['same'], 'answer': 'yes'}, {**field(row, 'diff', dict), 'answer': 'no'}]


def answer_for(answer: Any, operator: object) -> str:
    """An answer as text; of a list [sum, difference, product] the one of the query's operator."""
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        if operator not in OPERATORS or len(answer) != len(OPERATORS):
            raise ValueError(f'answer is {answer}; expected one for each of the operators {", ".join(OPERATORS)}')
        return str(answer[OPERATORS.index(str(operator))])
    return str(answer)


def hash_of(row: Mapping[str, Any]) -> int:
    """The same for rows of the same images."""
    return zlib.crc32('\n'.join(image_paths(row)).encode())


@METRICS.register_module()
class VLICLComputeMetrics(Metric[str]):
    """Accuracy by task, on the answer within a text ('The answer is ...' or all of it):

    operator_induction, clevr   its first number, with its sign, must be the right one
    open_mi, textocr            the right answer must stand in it as a whole word or words, whatever the case and
                                punctuation; in open_mi no other candidate may
    matching_mi                 its first word must be the right one of yes and no

    `bench_accuracy` is the bench's own rule, to compare with published numbers, see `bench_correct`.
    Reads of `meta`: `task`, `answer` (else the target), `candidates`.
    """

    def extract(self, prediction: Prediction) -> str | None:
        answer = answer_of(prediction.pred)
        if answer is None:
            return None
        if prediction.meta.get('task') in COUNTED:
            number = re.search(r'-?\d+', answer.replace(MINUS, '-'))
            return number[0] if number else None
        return ' '.join(words(answer)) or None

    def score(self, value: str, prediction: Prediction) -> float:
        right, task = right_answer(prediction), prediction.meta.get('task')
        if task in COUNTED:
            return float(float(value) == float(right))
        if task == 'matching_mi':
            return float(value.split()[0] == right.lower())
        others = [name for name in prediction.meta.get('candidates') or () if words(name) != words(right)]
        return float(stands_in(right, value) and not (task == 'open_mi' and any(stands_in(o, value) for o in others)))

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        rows = super().per_sample(predictions)
        for row, prediction in zip(rows, predictions, strict=True):
            row['bench_correct'] = bench_correct(prediction)
        return rows

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        bench = rate('bench_accuracy', [row['bench_correct'] for row in rows], predictions)
        return super().reduce(rows, predictions) | bench


def words(text: str) -> list[str]:
    """Its words in lower case; of a text without letters and digits (a marked '&') its marks."""
    text = text.casefold()
    return re.findall(r'\w+', text) or text.split()


def stands_in(answer: str, text: str) -> bool:
    """Whether all words of an answer stand in a text, one behind the other."""
    return f' {" ".join(words(answer))} ' in f' {" ".join(words(text))} '


def bench_correct(prediction: Prediction) -> float:
    """The bench's rule: of the first line, or sentence, of the text; equal but for case. In operator_induction its
    first digits, so no negative number is ever right; in matching_mi 'no' is what does not say yes.
    """
    text, right = prediction.pred.strip().lower(), right_answer(prediction).lower()
    for end in ('\n', '.'):
        if text.find(end) > 0:
            text = text[: text.find(end)]
            break
    task = prediction.meta.get('task')
    if task == 'matching_mi':
        return float(('yes' in text) == (right == 'yes'))
    if task == 'operator_induction':
        number = re.search(r'\d+', text)
        text = number[0] if number else ''
    return float(text == right)
