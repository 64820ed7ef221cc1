"""Short answers: found in a text, brought into the official normal form, compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.metric.answer import GQAComputeMetrics, answer_of, legacy_answer, normalise_vqa
from mllm.types import Prediction


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('The answer is yes.', 'yes'),
        ('the answer is Yes', 'Yes'),
        ('THE ANSWER IS: yes', 'yes'),
        ('Two dogs. So the answer is 2 .', '2'),
        ('The answer is 2. So the answer is 3.', '3'),
        ('The answer is yes. Because it is bright.', 'yes'),
        ('The answer is St. Bernard.', 'St. Bernard'),
        ('The answer is 3.5 .', '3.5'),
        ('Answer: left', 'left'),
        ('yes', 'yes'),
        ('The answer is\nblue\nnot red', 'blue'),
        ('The answer is U.S. army', 'U.S. army'),
        ('', None),
        ('The answer is .', None),
        ('...', None),
    ],
)
def test_the_answer_in_a_text(text: str, answer: str | None):
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    ('text', 'normal'),
    [
        ('Yes.', 'yes'),
        ('The  red bus', 'red bus'),
        ('two dogs and a cat', '2 dogs and cat'),
        ('none', '0'),
        ("don't", "don't"),
        ('dont', "don't"),
        ("isn't it", "isn't it"),
        ('1,000', '1000'),
        ('red/blue', 'red blue'),
        ('hot-dog', 'hot dog'),
        ('mr. smith', 'mr smith'),
        ('3.5', '3.5'),
        ('what ?', 'what'),
        ('an apple', 'apple'),
        ('', ''),
    ],
)
def test_the_official_normal_form(text: str, normal: str):
    assert normalise_vqa(text) == normal


@given(st.text(alphabet='abc ,.!?-0123456789\n', max_size=30))
def test_answers_survive_being_wrapped(text: str):
    """What stands in 'The answer is X.' is what X alone would give, if X is a line of one sentence."""
    line = ' '.join(text.split())
    assert answer_of(f'The answer is {line}.') == answer_of(line)


def test_numbers_and_tables():
    given_ = [
        Prediction(0, 'The answer is yes.', 'The answer is yes.', {'types': {'structural': 'verify'}}),
        Prediction(1, 'Yes', 'The answer is yes.', {'types': {'structural': 'verify'}}),
        Prediction(2, '', 'The answer is two.', {'types': {'structural': 'query'}}),
        Prediction(3, 'The answer is 2.', 'anything', {'answer': 'two'}),
    ]
    metric = GQAComputeMetrics()
    numbers = metric.compute(given_)
    assert (numbers['accuracy'], numbers['parse_failures'], numbers['legacy_accuracy']) == (0.75, 1, 0.25)
    (worst, best) = metric.tables(given_)['by_structural']
    assert (worst['structural'], worst['accuracy'], best['accuracy']) == ('query', 0.0, 1.0)


def test_the_released_rule_wants_exactly_one_lead():
    assert legacy_answer('The answer is a. The answer is b.') == 'a. The answer is b'
    assert legacy_answer('Answer: x\nThe answer is y') is None


def test_a_target_without_answer_is_named():
    with pytest.raises(ValueError, match='sample 7: no answer in the target'):
        GQAComputeMetrics().compute([Prediction(7, 'yes', '.')])
