"""POPE: items from both containers, what counts as yes and no, and the rates of the answer yes."""

import json
from pathlib import Path

import pytest

from mllm.dataset.single_image_dataset.pope import POPEComputeMetrics, POPEVQADataset
from mllm.types import Prediction
from mllm.utils.rng import ItemRng

ROW = {'question_id': 7, 'image': 'a.jpg', 'text': 'Is there a dog in the image?', 'label': 'no'}


def dataset(path: Path, *rows: object, array: bool = False) -> POPEVQADataset:
    text = json.dumps(rows, indent=1) if array else ''.join(json.dumps(row) + '\n' for row in rows)
    (path / 'pope.json').write_text(text)
    return POPEVQADataset(str(path / 'pope.json'), template_string='<image> <question>')


@pytest.mark.parametrize('array', [False, True])
def test_items(tmp_path: Path, array: bool):
    data = dataset(tmp_path, ROW, {**ROW, 'label': 'Yes'}, array=array)
    item = data.make_item(data.get_row(0), ItemRng(0))
    assert [turn['value'] for turn in item['conversations']] == [
        '<image> Is there a dog in the image?',
        'The answer is no .',
    ]
    assert item['meta'] == {
        'label': 'no',
        'labels': ['yes', 'no'],
        'candidates': ['The answer is yes .', 'The answer is no .'],
        'id': 7,
    }
    assert data.answer(1) == 'The answer is yes .'


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'label': 'maybe'}, "label is 'maybe'; expected 'yes' or 'no'"),
        ({'label': True}, 'label is True; expected str'),
        ({'text': None}, 'text is None; expected str'),
    ],
)
def test_rows_that_are_wrong(tmp_path: Path, fields: dict[str, object], message: str):
    data = dataset(tmp_path, {**ROW, **fields})
    with pytest.raises(ValueError, match=message):
        data.make_item(data.get_row(0), ItemRng(0))


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('The answer is yes .', 'yes'),
        ('"No," it says', 'no'),
        ('Yes, there is no doubt.', 'yes'),
        ('No, but yes', 'no'),
        ('There is no dog.', 'no'),
        ('It is not there', 'no'),
        ("There isn't a dog", 'no'),
        ('I would say yes', 'yes'),
        # Neither, or both.
        ('I say yes or no', None),
        ('There is a dog', None),
        ('nothing', None),
        ('I cannot say', None),
        ('Yesterday', None),
        ('', None),
    ],
)
def test_what_is_answered(text: str, answer: str | None):
    assert POPEComputeMetrics().extract(Prediction(0, text, '')) == answer


def given(pairs: list[tuple[str, str]]) -> list[Prediction]:
    return [Prediction(index, pred, f'The answer is {label} .') for index, (pred, label) in enumerate(pairs)]


def test_numbers():
    # 3 true yes, 1 false yes, 1 missed, 1 true no, 2 that are neither.
    pairs = [('yes', 'yes')] * 3 + [('yes', 'no'), ('no', 'yes'), ('no', 'no'), ('perhaps', 'yes'), ('', 'no')]
    numbers = POPEComputeMetrics().compute(given(pairs))
    assert (numbers['n'], numbers['parse_failures']) == (8, 2)
    rates = {name: numbers[name] for name in ('accuracy', 'precision', 'recall', 'f1', 'yes_ratio')}
    assert rates == pytest.approx(
        {'accuracy': 4 / 8, 'precision': 3 / 4, 'recall': 3 / 5, 'f1': 6 / 9, 'yes_ratio': 4 / 8}
    )
    for name, value in rates.items():
        assert numbers[f'{name}_ci_low'] < value < numbers[f'{name}_ci_high']
    assert POPEComputeMetrics().compute(given(pairs)) == numbers


def test_nobody_answers_yes():
    numbers = POPEComputeMetrics().compute(given([('no', 'no'), ('no', 'yes')]))
    assert [numbers[name] for name in ('accuracy', 'precision', 'recall', 'f1', 'yes_ratio')] == [0.5, 0, 0, 0, 0]
    assert POPEComputeMetrics().compute([]) == {'n': 0, 'parse_failures': 0}


def test_a_target_without_label():
    with pytest.raises(ValueError, match="sample 5: the target 'a dog' is neither yes nor no"):
        POPEComputeMetrics().compute([Prediction(5, 'yes', 'a dog')])
    labelled = [Prediction(5, 'yes', 'a dog', {'label': 'yes'})]
    assert POPEComputeMetrics().compute(labelled)['accuracy'] == 1
