import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.metric.text import ExactMatch, normalise_answer
from mllm.registry import METRICS
from mllm.types import Prediction


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('  A  Cat. ', 'a cat'),
        ('"St. Bernard".', 'st. bernard'),
        ("jack-o'-lantern", "jack-o'-lantern"),
        ('yes\n', 'yes'),
        ('...', ''),
    ],
)
def test_normalise_answer(text, expected):
    assert normalise_answer(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


def test_the_whole_answer_counts():
    answers = ['Cat.', 'a cat', 'catfish', '', 'cat']
    predictions = [Prediction(index, answer, 'cat') for index, answer in enumerate(answers)]
    metric = METRICS.build({'type': 'ExactMatch'})
    assert [row['correct'] for row in metric.per_sample(predictions)] == [1.0, 0.0, 0.0, 0.0, 1.0]
    numbers = metric.compute(predictions)
    assert (numbers['accuracy'], numbers['n'], numbers['parse_failures']) == (0.4, 5, 1)
    assert 0 < numbers['accuracy_ci_low'] < 0.4 < numbers['accuracy_ci_high'] < 1


def test_no_predictions():
    assert ExactMatch().compute([]) == {'n': 0, 'parse_failures': 0}
