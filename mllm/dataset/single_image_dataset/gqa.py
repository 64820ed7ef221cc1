"""Stage 2 of a sample's way for GQA: questions composed from scene graphs. The metric is `GQAComputeMetrics`.

Rows: the official questions, one a line (`imageId`, `question`, `answer`, `fullAnswer`, `semanticStr`, `annotations`),
and `cot` (`value`, `boxes`, `seq`) where somebody wrote a chain of thought. Scene graphs: one a line, with `imageId`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, choice_faults, field, two_turns
from mllm.dataset.single_image_dataset.phrases import plain, with_boxes
from mllm.registry import DATASETS
from mllm.types import BOXES_PLACEHOLDER, IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER, RawItem
from mllm.utils.json_rows import Rows, open_rows
from mllm.utils.rng import ItemRng

QUESTIONS, ANSWERS = ('q', 'qb', 'qbp'), ('a', 'c', 'bc', 's', 'bs', 'l', 'bl')
VERSIONS = tuple(f'{question}-{answer}' for question in QUESTIONS for answer in ANSWERS)
REFERENCE = re.compile(r'\s*\(((?:\d+,?)+|-)\)')
"""Objects that a step of `semanticStr` found: ` (123)`, ` (123,456)`, or ` (-)` for none."""
YES_NO = re.compile(r'^(Yes|No),\s*')

Text = tuple[str, list[list[str]]]
"""Words with <boxes>, and the ids of the objects that each stands for."""


@DATASETS.register_module()
class GQADataset(MInstrDataset):
    """`version` is what the question and the answer show, with a hyphen between.

    q, qb, qbp   the question plain; with boxes behind the words for objects; plain with probability
                 1 - `question_box_prob`
    a            `The answer is {answer}.`
    c, bc        the chain of thought; with its boxes
    s, bs        the semantic program; with boxes of what its steps found
    l, bl        the full answer, then the answer; with boxes behind the words for objects

    scene_graph_file    needed by all versions with boxes of objects (qb, qbp, bs, bl)
    scene_graph_index   a JSON map imageId -> line number (from 0) of it; without, it is read once to find out
    """

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'imageId'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        scene_graph_file: str | None = None,
        scene_graph_index: str | None = None,
        version: str = 'q-a',
        question_box_prob: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.scene_graph_file = scene_graph_file
        self.scene_graph_index = scene_graph_index
        faults = choice_faults('version', version, VERSIONS)
        if (
            not faults
            and scene_graph_file is None
            and (not version.startswith('q-') or version.endswith(('-bs', '-bl')))
        ):
            faults.append(f'version={version!r} shows boxes of objects; give scene_graph_file')
        if scene_graph_index is not None and scene_graph_file is None:
            faults.append('scene_graph_index is given without scene_graph_file')
        if not 0 <= question_box_prob <= 1:
            faults.append(f'question_box_prob={question_box_prob}: expected 0 to 1')
        self.refuse(faults)
        self.question_form, self.answer_form = version.split('-')
        self.question_box_prob = question_box_prob

    def image_path(self, row: Row) -> str | None:
        return f'{field(row, "imageId", str)}.jpg'

    @functools.cached_property
    def scenes(self) -> tuple[Rows, dict[str, int]]:
        """The scene graphs, and the number of that of each image."""
        rows = open_rows(str(self.scene_graph_file))
        if self.scene_graph_index is not None:
            return rows, json.loads(Path(self.scene_graph_index).read_text(encoding='utf-8'))
        return rows, {str(rows[number].get('imageId')): number for number in range(len(rows))}

    def objects(self, row: Row) -> Mapping[str, Any]:
        """The objects of a row's image by id."""
        rows, numbers = self.scenes
        image = field(row, 'imageId', str)
        if image not in numbers:
            raise ValueError(f'{self.scene_graph_file} has no scene graph of image {image!r}')
        return field(rows[numbers[image]], 'objects', dict)

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        boxes: list[Any]
        answer, boxes, told = self.make_answer(row)
        asked: list[list[int]] = []
        question = field(row, 'question', str)
        boxed = self.question_form == 'qb'
        if self.question_form == 'qbp':
            boxed = float(rng('question_boxes').random()) <= self.question_box_prob
        if boxed:
            question, ids = marked_words(question, self.spans(row, 'question'))
            asked = self.box_numbers(row, ids, boxes)
        question = self.get_template(rng).replace(QUESTION_PLACEHOLDER, question)
        return {
            'target': {'boxes': boxes},
            'conversations': two_turns(question, answer, question_boxes=asked, answer_boxes=told),
            'meta': {
                'answer': field(row, 'answer', str),
                **({'id': row['question_id']} if 'question_id' in row else {}),
                **({'types': row['types']} if isinstance(row.get('types'), dict) else {}),
            },
        }

    def make_answer(self, row: Row) -> tuple[str, list[list[float]], list[list[int]]]:
        """The answer's text, its boxes, and the numbers of those that each <boxes> stands for."""
        last = f'The answer is {field(row, "answer", str)}.'
        form = self.answer_form
        if form == 'a':
            return last, [], []
        if form in ('c', 'bc'):
            thought = field(row, 'cot', dict)
            value = field(thought, 'value', str)
            if form == 'c':
                return plain(value), [], []
            groups = field(thought, 'seq', list)
            return with_boxes(value, groups), [list(box) for box in field(thought, 'boxes', list)], groups
        if form in ('s', 'bs'):
            text, ids = program_text(field(row, 'semanticStr', str), form == 'bs')
            return self.with_places(row, f'{text}. {last}', ids)
        words = YES_NO.sub('', field(row, 'fullAnswer', str))
        dropped = len(field(row, 'fullAnswer', str).split()) - len(words.split())
        text, ids = marked_words(words, self.spans(row, 'fullAnswer', dropped)) if form == 'bl' else (words, [])
        return self.with_places(row, f'{text} {last}', ids)

    def with_places(self, row: Row, text: str, ids: list[list[str]]) -> tuple[str, list[list[float]], list[list[int]]]:
        boxes: list[list[float]] = []
        return text, boxes, self.box_numbers(row, ids, boxes)

    def box_numbers(self, row: Row, ids: Sequence[Sequence[str]], boxes: list[list[float]]) -> list[list[int]]:
        """For groups of objects the numbers of their boxes, which are added to `boxes` unless they are there."""
        if not ids:
            return []
        objects, groups = self.objects(row), []
        for group in ids:
            numbers = []
            for name in group:
                if name not in objects:
                    raise ValueError(f'object {name!r} is not in the scene graph of image {row["imageId"]!r}')
                entry = objects[name]
                box = [entry['x'], entry['y'], entry['x'] + entry['w'], entry['y'] + entry['h']]
                if box not in boxes:
                    boxes.append(box)
                numbers.append(boxes.index(box))
            groups.append(numbers)
        return groups

    def spans(self, row: Row, key: str, dropped: int = 0) -> Iterator[tuple[int, list[str]]]:
        """(position of the last word, ids of the objects) of each annotated span; `dropped` first words are gone."""
        annotations = field(row, 'annotations', dict).get(key) or {}
        for span, ids in annotations.items():
            last = int(str(span).split(':')[-1]) - (1 if ':' in str(span) else 0) - dropped
            if last >= 0:
                yield last, [name.strip() for name in str(ids).split(',')]

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for path in (self.scene_graph_file, self.scene_graph_index):
            if path is not None and not Path(path).is_file():
                yield f'{path}: no such file of scene graphs'


def marked_words(text: str, spans: Iterator[tuple[int, list[str]]]) -> Text:
    """The text with <boxes> behind the last word of each span, before punctuation that ends it."""
    words, ids = text.split(' '), []
    for last, group in sorted(spans, key=lambda span: span[0]):
        if last >= len(words):
            raise ValueError(f'an annotation names word {last} of {text!r}, which has {len(words)}')
        ids.append(group)
        words[last] += BOXES_PLACEHOLDER
    return ' '.join(words), ids


def program_text(program: str, show: bool) -> Text:
    """A semantic program without its references, or with <boxes> in place of those that name objects."""
    ids: list[list[str]] = []

    def written(match: re.Match[str]) -> str:
        if not show or match[1] == '-':
            return ''
        ids.append(match[1].strip(',').split(','))
        return BOXES_PLACEHOLDER

    return REFERENCE.sub(written, program), ids
