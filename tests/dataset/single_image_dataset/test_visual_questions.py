"""VQA, POPE and ScienceQA: what becomes of rows, and metrics against worked examples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllm.dataset.single_image_dataset.pope import POPEComputeMetrics
from mllm.dataset.single_image_dataset.science_qa import ScienceQAComputeMetrics
from mllm.dataset.single_image_dataset.vqa import VQAComputeMetrics, soft_accuracy
from mllm.registry import DATASETS
from mllm.types import Prediction
from mllm.utils.rng import ItemRng

Make = Callable[..., list[Any]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Items (without images) that a class makes of rows."""

    def call(type: str, *rows: dict[str, Any], **cfg: Any) -> list[Any]:
        path = tmp_path / 'rows.jsonl'
        path.write_text('\n'.join(map(json.dumps, rows)))
        data = DATASETS.build({'type': type, 'filename': str(path), 'template_string': '<question> <image>', **cfg})
        return [data.make_item(data.get_row(index), ItemRng(0, 0, index)) for index in range(len(data))]

    return call


@pytest.mark.parametrize(
    ('answer', 'given', 'score'),
    [
        ('red', ['red'] * 10, 1.0),
        # Each of the ten is left out in turn: three agree with the others, of whom two are left.
        ('red', ['red'] * 3 + ['blue'] * 7, 0.3 * 2 / 3 + 0.7),
        ('red', ['red'] * 2 + ['blue'] * 8, 0.2 / 3 + 0.8 * 2 / 3),
        ('red', ['red'] + ['blue'] * 9, 0.9 / 3),
        ('red', ['blue'] * 10, 0.0),
        ('The Red!', ['red'] * 4 + ['a red'] * 6, 1.0),
        ('2', ['two'], 1.0),
        ('3', ['two'], 0.0),
    ],
)
def test_soft_accuracy(answer: str, given: list[str], score: float):
    assert soft_accuracy(answer, given) == pytest.approx(score)


def test_vqa_metric():
    metric = VQAComputeMetrics()
    meta = {'answers': ['red'] * 10, 'types': {'answer_type': 'other', 'question_type': 'what'}}
    given = [
        Prediction(0, 'The answer is red.', 'The answer is red.', meta),
        Prediction(1, '', 'The answer is red.', meta),
        Prediction(2, 'no', 'The answer is no.', {'answer': 'no', 'types': {'answer_type': 'yes/no'}}),
    ]
    numbers = metric.compute(given)
    assert (numbers['accuracy'], numbers['parse_failures']) == (pytest.approx(2 / 3), 1)
    assert [row['answer_type'] for row in metric.tables(given)['by_answer_type']] == ['other', 'yes/no']


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ({'image_path': 'a'}, "no 'question'"),
        ({'image_path': 'a', 'question': 3}, 'question is 3; expected str'),
        ({'image_path': 'a', 'question': 'q'}, "no 'annotation'"),
        ({'image_path': 'a', 'question': 'q', 'annotation': {}}, 'neither multiple_choice_answer nor answers'),
    ],
)
def test_faulty_vqa_rows(make: Make, row: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make('VQAv2Dataset', row)


def test_questions_without_annotation(make: Make):
    row = {'image_path': 'a', 'question': 'q {x}', 'question_id': 5}
    (item,) = make('VQAv2Dataset', row, has_annotation=False)
    assert item['conversations'][1]['value'] == 'UNKNOWN'
    (item,) = make('PureVQADataset', row)
    assert [turn['value'] for turn in item['conversations']] == ['q {x} <image>', '']
    assert item['meta'] == {'id': 5}


def test_explanations(make: Make):
    row = {'file_path': 'a', 'question': 'q', 'explanation': ['It rains.', 0.4], 'multiple_answers': 'yes'}
    (item,) = make('VQAEXDataset', row)
    assert item['conversations'][1]['value'] == 'It rains. So the answer is yes.'
    with pytest.raises(ValueError, match='expected a list of sentences'):
        make('VQAEXDataset', {**row, 'explanation': [0.4]})
    row = {'file_path': 'a', 'question': 'q', 'justification': ['A.', 'B.'], 'multiple_choice_answer': 'no'}
    (item,) = make('VQAEXDataset', row, is_e_dataset=False)
    assert item['conversations'][1]['value'] == 'A.B. So the answer is no.'


def test_pope_rows(make: Make):
    row = {'question_id': 1, 'image': 'a.jpg', 'text': 'Is there a cat?', 'label': 'YES'}
    (item,) = make('POPEVQADataset', row)
    assert item['meta']['candidates'] == ['The answer is yes .', 'The answer is no .']
    with pytest.raises(ValueError, match="expected 'yes' or 'no'"):
        make('POPEVQADataset', {**row, 'label': 'perhaps'})


def test_pope_metric():
    """Two of three yes are found, and one no is taken for a yes: precision 2/3, recall 2/3."""
    answers = ['The answer is yes .', 'Yes, there is.', 'No.', 'There is not.', 'yes', 'I cannot say']
    labels = ['yes', 'yes', 'yes', 'no', 'no', 'no']
    given = [Prediction(n, a, '', {'label': b}) for n, (a, b) in enumerate(zip(answers, labels, strict=True))]
    numbers = POPEComputeMetrics().compute(given)
    assert numbers['parse_failures'] == 1
    for name, value in {'accuracy': 0.5, 'precision': 2 / 3, 'recall': 2 / 3, 'f1': 2 / 3, 'yes_ratio': 0.5}.items():
        assert numbers[name] == pytest.approx(value)
        assert 0 <= numbers[f'{name}_ci_low'] <= value <= numbers[f'{name}_ci_high'] <= 1
    assert POPEComputeMetrics().compute([]) == {'n': 0, 'parse_failures': 0}
    only_no = [Prediction(0, 'no', 'The answer is no .')]
    assert POPEComputeMetrics().compute(only_no)['f1'] == 0


@pytest.mark.parametrize(
    ('answer', 'letter'),
    [
        ('The answer is (B).', 'B'),
        ('b', 'B'),
        ('B.', 'B'),
        ('the cat', 'A'),
        ('The answer is The Dog', 'B'),
        ('(A) or (B)', None),
        ('(C)', None),
        ('E', None),
        ('neither', None),
        ('', None),
    ],
)
def test_science_answers(answer: str, letter: str | None):
    meta = {'choices': ['cat', 'dog'], 'answer': 'B'}
    assert ScienceQAComputeMetrics().extract(Prediction(0, answer, '', meta)) == letter


def test_science_tables_and_rows(make: Make):
    row = {
        'id': '4',
        'image_path': None,
        'question': 'Which?',
        'choices': ['a', 'b', 'c'],
        'answer': 'C',
        'hint': 'Look.',
    }
    row |= {'lecture': 'Long.', 'solution': 'It is c.', 'subject': 'language science', 'grade': 'grade12'}
    (item,) = make('ScienceQADataset', row)
    assert item['conversations'][0]['value'] == 'Context: Look.\nWhich?\nOptions: (A) a (B) b (C) c'
    assert {key: item['meta'][key] for key in ('subject', 'context', 'grade')} == {
        'subject': 'LAN',
        'context': 'TXT',
        'grade': 'G7-12',
    }
    (item,) = make('ScienceQADataset', row, with_lecture=True, with_solution=True, with_hint=False)
    assert item['conversations'][0]['value'].startswith('Context: Long.\nWhich?')
    assert item['conversations'][1]['value'] == 'It is c. So the answer is (C).'
    with pytest.raises(ValueError, match='expected one of the letters A, B, C'):
        make('ScienceQADataset', {**row, 'answer': 'D'})
    meta = {'choices': ['a', 'b'], 'answer': 'A', 'grade': 'G1-6', 'context': 'NO'}
    metas = [{**meta, 'subject': name} for name in ('NAT', 'SOC')]
    given = [Prediction(n, 'A' if n else 'B', '', meta) for n, meta in enumerate(metas)]
    tables = ScienceQAComputeMetrics().tables(given)
    assert [(row['subject'], row['accuracy']) for row in tables['by_subject']] == [('NAT', 0.0), ('SOC', 1.0)]
    assert tables['by_grade'][0]['n'] == 2
