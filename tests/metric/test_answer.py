"""Short answers: what is read out of a text, the official normal form, and exact match beside the released rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.metric.answer import GQAComputeMetrics, answer_of, legacy_answer, normalise_vqa
from mllm.types import Prediction


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('The answer is yes.', 'yes'),
        ('the answer is: yes', 'yes'),
        ('THE ANSWER IS yes ...', 'yes'),
        ('Answer: red bus .', 'red bus'),
        ('There are two. So the answer is 2.', '2'),
        ('The answer is yes. Because it is bright.', 'yes'),
        ('The answer is 2. There are two dogs.', '2'),
        ('The answer is (B). It is warmer.', '(B)'),
        ('The answer is St. Bernard.', 'St. Bernard'),
        ('The answer is J. R. Smith.', 'J. R. Smith'),
        ('The answer is Ms. Lee. She smiles.', 'Ms. Lee'),
        ('The answer is U.S. army', 'U.S. army'),
        ('The answer is 2. So the answer is 3.', '3'),
        ('The answer is\nblue\nnot red', 'blue'),
        ('The answer is 2.5.', '2.5'),
        ('The answer is no. Wait, the answer is yes.', 'yes'),
        ('The answer is\n\nyes\nUSER: and now?', 'yes'),
        ('yes', 'yes'),
        # Not the words themselves.
        ("The answer isn't here", "The answer isn't here"),
        ('', None),
        (' \n ', None),
        ('...', None),
        ('The answer is .', None),
    ],
)
def test_the_answer_in_a_text(text: str, answer: str | None):
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('The answer is yes. Because it is bright.', 'yes. Because it is bright'),
        ('So the answer is yes...', 'yes'),
        ('The answer is no. The answer is yes.', 'no. The answer is yes'),
        ('The answer is no.\nThe answer is yes.', None),
        ('Answer: x\nThe answer is y', None),
        ('THE ANSWER IS yes.', None),
        ('yes', None),
        ('', None),
    ],
)
def test_the_released_rule(text: str, answer: str | None):
    assert legacy_answer(text) == answer


@pytest.mark.parametrize(
    ('text', 'normal'),
    [
        ('A Red  Bus.', 'red bus'),
        ('the\tcat\n', 'cat'),
        ('Two', '2'),
        ('none', '0'),
        ('ten', '10'),
        ('twenty', 'twenty'),
        ('dont', "don't"),
        ("isn't it", "isn't it"),
        ('mr. smith', 'mr smith'),
        ('what ?', 'what'),
        ("couldn'tve", "couldn't've"),
        ('well', 'well'),
        ('its', 'its'),
        # A mark beside a blank, or digits with a comma, make it vanish; else it becomes a blank.
        ('black and white', 'black and white'),
        ('black/white', 'black white'),
        ('black / white', 'black white'),
        ('red, blue', 'red blue'),
        ('red,blue', 'red blue'),
        ('1,000', '1000'),
        ('1,000-mile', '1000mile'),
        ('t-shirt', 't shirt'),
        ('2.5', '2.5'),
        ('2.', '2'),
        ('u.s.', 'us'),
        ("dog's", "dog's"),
        ('12:30', '12:30'),
        ('', ''),
        ('the', ''),
    ],
)
def test_normal_form(text: str, normal: str):
    assert normalise_vqa(text) == normal


@given(st.text(st.sampled_from("aThe twonOne12.,/-?'s \n"), max_size=20))
def test_normal_form_has_single_blanks_and_is_lower_case(text: str):
    normal = normalise_vqa(text)
    assert normal == ' '.join(normal.split()).lower()
    assert not {'a', 'an', 'the', 'one', 'two'} & set(normal.split())
    assert normalise_vqa(f' {text}\n') == normal


@given(st.text(st.sampled_from('abc ,.!?-0123456789\n'), max_size=30))
def test_an_answer_survives_being_wrapped(text: str):
    line = ' '.join(text.split())
    assert answer_of(f'The answer is {line}.') == answer_of(line)


def one(pred: str, target: str = 'The answer is yes.', index: int = 0, **meta: object) -> Prediction:
    return Prediction(index, pred, target, meta)


def test_exact_match_beside_the_released_rule():
    given = [one('The answer is Yes.'), one('the answer is yes'), one('no'), one('')]
    numbers = GQAComputeMetrics().compute(given)
    assert (numbers['n'], numbers['parse_failures']) == (4, 1)
    assert (numbers['accuracy'], numbers['legacy_accuracy']) == (0.5, 0.25)
    assert numbers['accuracy_ci_low'] < 0.5 < numbers['accuracy_ci_high']


def test_the_answer_in_meta_counts():
    assert GQAComputeMetrics().compute([one('no', answer='No')])['accuracy'] == 1
    assert GQAComputeMetrics().compute([one('2', answer=2)])['accuracy'] == 1
    with pytest.raises(ValueError, match="sample 3: no answer in the target ''"):
        GQAComputeMetrics().compute([one('yes', '', 3)])


def test_no_predictions():
    assert GQAComputeMetrics().compute([]) == {'n': 0, 'parse_failures': 0}
    assert GQAComputeMetrics().tables([]) == {}


def test_tables_by_the_types_of_questions():
    given = [
        one('yes', index=0, types={'structural': 'verify', 'semantic': 'attr'}),
        one('no', index=1, types={'structural': 'query', 'semantic': None}),
        one('no', index=2),
        one('no', index=3, types=None),
    ]
    tables = GQAComputeMetrics().tables(given)
    assert [(row['structural'], row['accuracy']) for row in tables['by_structural']] == [('query', 0), ('verify', 1)]
    assert [row['semantic'] for row in tables['by_semantic']] == ['attr']
