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
from mllm.dataset.single_image_dataset.base import Row, field, two_turns
from mllm.dataset.single_image_dataset.drawing import shuffled
from mllm.dataset.source import Source
from mllm.metric.answer import answer_of, normalise_vqa
from mllm.metric.base import Metric
from mllm.registry import DATASETS, METRICS, nearest
from mllm.types import IMAGE_PLACEHOLDER, Episode, Prediction, RawItem
from mllm.utils.faults import FaultsError
from mllm.utils.image_io import load_image
from mllm.utils.json_rows import open_rows
from mllm.utils.rng import ItemRng

TASKS = ('open_mi', 'operator_induction', 'clevr', 'textocr', 'matching_mi')
OPERATORS = ('+', '-', 'x')
WAYS = 2
"""Classes shown in an episode of open_mi: the right one and another, as the bench does."""
INSTRUCTIONS = {
    'open_mi': 'Answer the question with a single word or phrase.',
    'operator_induction': 'The image shows two numbers and an operation between them. Induce the operation from the '
    'examples and calculate the result.',
    'clevr': 'The image holds objects of several shapes, colours, sizes and materials. Find out from the examples what '
    'is counted, and answer with a number.',
    'textocr': 'Answer with the text in the red box.',
    'matching_mi': 'Find out from the examples what the two images have to share, and answer yes or no.',
}


@DATASETS.register_module()
class VLICLDataset(Source):
    """Episodes of one task of the bench.

    root        the folder of the bench
    task        one of TASKS
    shots       supports: per class in open_mi, of all kinds together otherwise
    instruction   put before the first question; True for a text of ours, False for none

    Supports are a function of the query's number alone, and k of them the first of those of more shots.
    """

    def __init__(self, root: str, task: str, shots: int = 1, instruction: bool | str = True) -> None:
        faults = [] if task in TASKS else [f'task={task!r}{nearest(str(task), TASKS)}']
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
        if self.supports is not None:
            kinds = 2 if self.task == 'matching_mi' else 1
            if len(self.supports) * kinds < self.shots:
                yield f'{self.root}/{self.task}/support.json: {len(self.supports)} rows, and shots is {self.shots}'

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
        """`shots` supports of the file in random order: in clevr of the attribute asked, in matching_mi of both."""
        if self.supports is None:
            return []
        order = shuffled(list(range(len(self.supports))), rng('supports'))
        rows = (self.supports[position] for position in order)
        chosen: list[Row] = []
        for row in rows:
            if len(chosen) >= self.shots:
                break
            if self.task == 'matching_mi' and 'same' in row:
                chosen += [{**row['same'], 'answer': 'yes'}, {**row['diff'], 'answer': 'no'}]
            elif set(row['image']).isdisjoint(query['image']) and self.same_kind(row, query):
                chosen.append(row)
        if len(chosen) < self.shots:
            raise ValueError(f'{len(chosen)} supports fit this query, and shots is {self.shots}')
        return chosen[: self.shots]

    def same_kind(self, row: Row, query: Row) -> bool:
        """In clevr supports must count by the attribute that the query names ('shape: cube')."""
        return self.task != 'clevr' or row['question'].split(':')[0] == query['question'].split(':')[0]

    def open_mi(self, query: Row, rng: ItemRng) -> list[Row]:
        """`shots` images of the right class and of another one, alternating as the bench does."""
        support, right = field(query, 'support', dict), field(query, 'answer', str)
        others = [name for name in field(query, 'classes', list) if name != right]
        names = [right, *shuffled(others, rng('classes'))[: WAYS - 1]]
        short = [name for name in names if len(support[name]['images']) < self.shots]
        if short:
            raise ValueError(f'class {short[0]!r} has too few supports for shots={self.shots}')
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
    paths = row['image'] if 'image' in row else row['images']
    return [paths] if isinstance(paths, str) else list(paths)


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
    """The bench's rules by task: numbers must be the first number of the answer; in open_mi and textocr the right
    answer, normalised, must stand in the answer; in matching_mi it must begin with the right one of yes and no.
    """

    def extract(self, prediction: Prediction) -> str | None:
        answer = answer_of(prediction.pred)
        if answer is None:
            return None
        if prediction.meta.get('task') in ('operator_induction', 'clevr'):
            number = re.search(r'-?\d+', answer)
            return number[0] if number else None
        return normalise_vqa(answer) or None

    def score(self, value: str, prediction: Prediction) -> float:
        right = normalise_vqa(str(prediction.meta.get('answer', prediction.target)))
        task = prediction.meta.get('task')
        if task in ('operator_induction', 'clevr'):
            return float(value == str(prediction.meta.get('answer', prediction.target)))
        if task == 'matching_mi':
            return float(value.split()[0] == right)
        return float(right in value if task == 'textocr' else f' {right} ' in f' {value} ')
