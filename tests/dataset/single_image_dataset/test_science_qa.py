"""ScienceQA: problems with and without image, the letter of an answer, and the tables of the published scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from mllm.dataset.single_image_dataset.science_qa import ScienceQAComputeMetrics, ScienceQADataset
from mllm.types import Prediction
from mllm.utils.rng import ItemRng

ROW = {
    'id': '31',
    'image_path': 'test/31/image.png',
    'question': 'Which is heavier?',
    'choices': ['the stone', 'a feather', 'neither'],
    'answer': 'A',
    'hint': 'They are equally large.',
    'lecture': 'Mass is in matter.',
    'solution': 'Stone is denser.',
    'subject': 'natural science',
    'grade': 'grade6',
    'split': 'test',
}


def item(path: Path, arguments: dict[str, Any] | None = None, **fields: Any) -> Any:
    (path / 'rows.jsonl').write_text(json.dumps({**ROW, **fields}) + '\n')
    data = ScienceQADataset(
        str(path / 'rows.jsonl'), template_string='Look at <image> and answer: <question>', **(arguments or {})
    )
    return data.make_item(data.get_row(0), ItemRng(0))


def values(item: Any) -> list[str]:
    return [turn['value'] for turn in item['conversations']]


OPTIONS = 'Which is heavier?\nOptions: (A) the stone (B) a feather (C) neither'
HINT = 'Context: They are equally large.\n'


def test_a_problem_with_image(tmp_path: Path):
    made = item(tmp_path)
    assert values(made) == [f'Look at <image> and answer: {HINT}{OPTIONS}', 'The answer is (A).']
    assert made['meta'] == {
        'id': '31',
        'answer': 'A',
        'choices': ROW['choices'],
        'candidates': ['The answer is (A).', 'The answer is (B).', 'The answer is (C).'],
        'subject': 'NAT',
        'context': ['TXT', 'IMG'],
        'grade': 'G1-6',
    }


def test_options(tmp_path: Path):
    start = 'Look at <image> and answer: '
    assert values(item(tmp_path, {'with_hint': False}))[0] == start + OPTIONS
    lecture = values(item(tmp_path, {'with_lecture': True, 'with_solution': True}))
    assert lecture[0] == f'{start}Context: Mass is in matter.\n{HINT}{OPTIONS}'
    assert lecture[1] == 'Stone is denser. So the answer is (A).'
    assert values(item(tmp_path, {'with_solution': True}, solution=''))[1] == 'The answer is (A).'


def test_a_problem_of_text_alone(tmp_path: Path):
    made = item(tmp_path, image_path=None, hint='', grade='grade12', subject='language science')
    assert values(made)[0] == OPTIONS
    assert [made['meta'][key] for key in ('subject', 'context', 'grade')] == ['LAN', ['NO'], 'G7-12']
    (tmp_path / 'rows.jsonl').write_text(json.dumps({**ROW, 'image_path': None}) + '\n')
    data = ScienceQADataset(str(tmp_path / 'rows.jsonl'), template_string='<image> <question>')
    assert 'image' not in data[0]
    assert data.image_key(0) is None


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'answer': 'D'}, "answer is 'D'; expected one of the letters A, B, C of the choices"),
        ({'answer': 'AB'}, "answer is 'AB'; expected one of the letters"),
        ({'answer': ''}, "answer is ''; expected one of the letters"),
        ({'answer': 0}, 'answer is 0; expected str'),
        ({'choices': []}, 'there are 0 choices; expected 1 to 10'),
        ({'choices': list('abcdefghijk')}, 'there are 11 choices; expected 1 to 10'),
        ({'choices': 'ab'}, "choices is 'ab'; expected list"),
        ({'question': None}, 'question is None; expected str'),
        ({'image_path': 3}, 'image_path is 3; expected str'),
    ],
)
def test_rows_that_are_wrong(tmp_path: Path, fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        item(tmp_path, **fields)


def one(index: int, pred: str, answer: str = 'A', **meta: Any) -> Prediction:
    return Prediction(index, pred, f'The answer is ({answer}).', {'answer': answer, 'choices': ROW['choices'], **meta})


@pytest.mark.parametrize(
    ('text', 'choices', 'letter'),
    [
        ('The answer is (B).', 'x y', 'B'),
        ('The answer is B', 'x y', 'B'),
        ('B.', 'x y', 'B'),
        ('b', 'x y', 'B'),
        ('Answer: (b)', 'x y', 'B'),
        ('Option B', 'x y', 'B'),
        ('B. Magnets attract.', 'x y', 'B'),
        ('B) y', 'x y', 'B'),
        ('(B) y', 'x y', 'B'),
        ('It is dense. So the answer is (B). It sinks.', 'x y', 'B'),
        ('The answer is Y.', 'x y', 'B'),
        ('the cat', 'dog cat', 'B'),
        # Choices that are articles or letters.
        ('The answer is (A).', 'cat the', 'A'),
        ('the', 'cat the', 'B'),
        ('a', 'an a', 'B'),
        ('A', 'B A', 'A'),
        # None, several, or not among the choices.
        ('(A) or (B)', 'x y', None),
        ('The answer is (C).', 'x y', None),
        ('C', 'x y', None),
        ('A dog', 'x y', None),
        ('x', 'x x', None),
        ('both', 'x y', None),
        ('', 'x y', None),
    ],
)
def test_the_letter_of_an_answer(text: str, choices: str, letter: str | None):
    assert ScienceQAComputeMetrics().extract(one(0, text, choices=choices.split())) == letter


def test_numbers_and_tables():
    given = [
        one(0, '(A)', subject='NAT', context=['TXT', 'IMG'], grade='G1-6'),
        one(1, '(B)', subject='NAT', context=['TXT'], grade='G7-12'),
        one(2, 'a feather', 'B', subject='SOC', context=['IMG'], grade='G7-12'),
        one(3, 'who knows', subject='LAN', context=['NO'], grade=None),
    ]
    metric = ScienceQAComputeMetrics()
    numbers = metric.compute(given)
    assert (numbers['n'], numbers['parse_failures'], numbers['accuracy']) == (4, 1, 0.5)
    tables = {
        name: {row[name.removeprefix('by_')]: (row['n'], row['accuracy']) for row in rows}
        for name, rows in metric.tables(given).items()
    }
    assert tables == {
        'by_subject': {'NAT': (2, 0.5), 'SOC': (1, 1), 'LAN': (1, 0)},
        'by_context': {'TXT': (2, 0.5), 'IMG': (2, 1), 'NO': (1, 0)},
        'by_grade': {'G1-6': (1, 1), 'G7-12': (2, 0.5)},
    }
