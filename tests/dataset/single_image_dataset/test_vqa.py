"""Visual questions with the answers of several people: items of the three classes, and the official soft accuracy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.single_image_dataset.vqa import VQAComputeMetrics, soft_accuracy
from mllm.metric.answer import normalise_vqa
from mllm.registry import DATASETS
from mllm.types import Prediction
from mllm.utils.faults import FaultsError

TEN = [{'answer': text, 'answer_id': number} for number, text in enumerate(['red'] * 7 + ['dark red'] * 3)]
ANNOTATION = {'multiple_choice_answer': 'red', 'answers': TEN, 'answer_type': 'other', 'question_type': 'what colour'}
VQA = {'image_path': 'a.png', 'question': 'What colour?', 'question_id': 12, 'annotation': ANNOTATION}
VQAE = {'file_path': 'a.png', 'question': 'Wet?', 'explanation': ['It rains.', 0.7], 'multiple_answers': 'yes'}
VQAX = {'file_path': 'a.png', 'question': 'Wet?', 'justification': ['It rains.', 'It pours.']}
VQAX |= {'multiple_choice_answer': 'yes'}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    """A dataset of some type with these rows, all on one image."""
    Image.new('RGB', (20, 10)).save(tmp_path / 'a.png')

    def build(kind: str, *rows: Any, array: bool = False, **arguments: Any) -> Any:
        text = json.dumps(rows) if array else ''.join(json.dumps(row) + '\n' for row in rows)
        (tmp_path / 'rows.json').write_text(text)
        given = {'filename': str(tmp_path / 'rows.json'), 'image_folder': str(tmp_path), **arguments}
        return DATASETS.build({'type': kind, **{'template_string': '<image> <question>', **given}})

    return build


def answer(item: Any) -> str:
    return item['conversations'][-1]['value']


@pytest.mark.parametrize('array', [False, True])
def test_vqav2(make: Callable[..., Any], array: bool):
    data = make('VQAv2Dataset', VQA, VQA, array=array)
    item = data[0]
    assert [turn['value'] for turn in item['conversations']] == ['<image> What colour?', 'The answer is red.']
    assert item['image'].size == (20, 10)
    types = {'answer_type': 'other', 'question_type': 'what colour'}
    answers = ['red'] * 7 + ['dark red'] * 3
    assert item['meta'] == {'answer': 'red', 'answers': answers, 'types': types, 'id': 12, 'image_path': 'a.png'}
    assert len(data) == 2


@pytest.mark.parametrize(
    ('annotation', 'expected'),
    [
        ({'answers': TEN}, 'red'),
        ({'answers': ['b', 'a', 'a', 'b']}, 'b'),
        ({'multiple_choice_answer': 'blue'}, 'blue'),
    ],
)
def test_the_answer_that_is_taught(make: Callable[..., Any], annotation: dict[str, Any], expected: str):
    assert answer(make('VQAv2Dataset', {**VQA, 'annotation': annotation})[0]) == f'The answer is {expected}.'


def test_explanations(make: Callable[..., Any]):
    assert answer(make('VQAEXDataset', VQAE)[0]) == 'It rains. So the answer is yes.'
    item = make('VQAEXDataset', {**VQAX, 'answers': TEN}, is_e_dataset=False)[0]
    assert answer(item) == 'It rains.It pours. So the answer is yes.'
    assert item['meta']['references'] == ['It rains.', 'It pours.']
    assert len(item['meta']['answers']) == 10


def test_questions_without_annotation(make: Callable[..., Any]):
    bare = {'image_path': 'a.png', 'question': 'Is {x} wet?', 'question_id': 4}
    assert answer(make('VQAv2Dataset', bare, has_annotation=False)[0]) == 'UNKNOWN'
    assert answer(make('VQAEXDataset', {**bare, 'file_path': 'a.png'}, has_annotation=False)[0]) == 'UNKNOWN'
    item = make('PureVQADataset', bare)[0]
    assert [turn['value'] for turn in item['conversations']] == ['<image> Is {x} wet?', '']
    assert item['meta'] == {'id': 4, 'image_path': 'a.png'}


@pytest.mark.parametrize(
    ('kind', 'row', 'message'),
    [
        ('VQAv2Dataset', {**VQA, 'annotation': None}, 'annotation is None; expected dict'),
        ('VQAv2Dataset', {**VQA, 'annotation': {}}, 'neither multiple_choice_answer nor answers'),
        ('VQAv2Dataset', {**VQA, 'annotation': {'answers': []}}, 'neither multiple_choice_answer nor answers'),
        ('VQAv2Dataset', {**VQA, 'annotation': {'answers': 'red'}}, "answers is 'red'; expected list"),
        ('VQAv2Dataset', {**VQA, 'annotation': {'answers': [{'text': 'red'}]}}, "no 'answer'"),
        ('VQAv2Dataset', {**VQA, 'annotation': {'multiple_choice_answer': 2}}, 'multiple_choice_answer is 2'),
        ('VQAv2Dataset', {**VQA, 'question': 5}, 'question is 5; expected str'),
        ('VQAv2Dataset', {'image': 'a.png', 'question': 'q', 'annotation': ANNOTATION}, "no 'image_path'"),
        ('VQAv2Dataset', {'image_path': 'a.png', 'question': 'q'}, "no 'annotation'"),
        ('VQAEXDataset', {**VQAE, 'explanation': []}, r'the explanation is \[\]; expected a list of sentences'),
        ('VQAEXDataset', {**VQAE, 'explanation': 'It rains.'}, "explanation is 'It rains.'; expected list"),
        ('VQAEXDataset', {**VQAE, 'explanation': [0.7, 'It rains.']}, r'the explanation is \[0.7\]'),
        ('VQAEXDataset', VQAX, "no 'explanation'"),
        ('PureVQADataset', {'image_path': 'a.png'}, "no 'question'"),
    ],
)
def test_rows_that_are_wrong(make: Callable[..., Any], kind: str, row: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make(kind, row)[0]


@pytest.mark.parametrize('template', ['<image>', '<question>', '<image> <question> <question>'])
def test_templates_that_are_wrong(make: Callable[..., Any], template: str):
    for kind in ('VQAv2Dataset', 'VQAEXDataset', 'PureVQADataset'):
        with pytest.raises(FaultsError, match='needed once'):
            make(kind, VQA, template_string=template)


@pytest.mark.parametrize(
    ('others', 'expected'),
    # Of ten people: those who gave the answer see one fewer beside them.
    [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)],
)
def test_soft_accuracy_leaves_one_out(others: int, expected: float):
    answers = ['Red.'] * others + ['blue'] * (10 - others)
    assert soft_accuracy('the red', answers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ('text', 'answers', 'expected'),
    [
        ('The Red!', ['red'] * 4 + ['a red'] * 6, 1),
        ('2', ['two'], 1),
        ('3', ['two'], 0),
        ('red', ['red', 'red'], 1 / 3),
    ],
)
def test_soft_accuracy_after_normalisation(text: str, answers: list[str], expected: float):
    assert soft_accuracy(text, answers) == pytest.approx(expected)


@given(st.lists(st.sampled_from(['red', 'Red', 'two', '2', 'a cat', '']), min_size=1, max_size=10), st.randoms())
def test_soft_accuracy_needs_no_order(answers: list[str], random: Any):
    shuffled = random.sample(answers, len(answers))
    for text in ('red', '2', 'cat'):
        assert soft_accuracy(text, answers) == pytest.approx(soft_accuracy(text, shuffled))
        assert 0 <= soft_accuracy(text, answers) <= 1
        assert (soft_accuracy(text, answers) > 0) <= (text in map(normalise_vqa, answers))


def one(index: int, pred: str, **meta: Any) -> Prediction:
    return Prediction(index, pred, 'The answer is red.', meta)


def test_numbers_and_tables():
    answers = ['red'] * 2 + ['blue'] * 8
    given = [
        one(0, 'The answer is Red.', answers=answers, types={'answer_type': 'other', 'question_type': 'what'}),
        one(1, 'blue', answers=answers, types={'answer_type': 'other'}),
        one(2, '', answers=answers, types={'answer_type': 'number'}),
        one(3, 'red', answers=['Red']),
        one(4, 'red'),
        one(5, 'blue', answer='red'),
    ]
    metric = VQAComputeMetrics()
    assert [row['correct'] for row in metric.per_sample(given)] == pytest.approx([0.6, 1, 0, 1, 1, 0])
    numbers = metric.compute(given)
    assert (numbers['n'], numbers['parse_failures']) == (6, 1)
    assert numbers['accuracy'] == pytest.approx(0.6)
    tables = metric.tables(given)
    rows = [(row['answer_type'], row['n'], row['accuracy']) for row in tables['by_answer_type']]
    assert rows == [('number', 1, 0), ('other', 2, pytest.approx(0.8))]
    assert [row['question_type'] for row in tables['by_question_type']] == ['what']
