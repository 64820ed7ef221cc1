import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mllm.metric.link_context import LinkContextAccuracy
from mllm.metric.text import normalise_answer
from mllm.registry import METRICS
from mllm.types import Prediction


def answer(label):
    return f'there is "{label}" in the image.'


def make(pred, label='icemic', other='ice cream', scores=(-1.0, -2.0), index=0, **meta):
    candidates = [answer(label), answer(other)]
    meta = {'label': label, 'labels': [label, other], 'candidates': candidates, **meta}
    score = dict(zip(candidates, scores)) if scores else {}
    return Prediction(index, pred, candidates[0], meta, score)


@pytest.mark.parametrize(
    ('pred', 'label', 'extracted', 'score'),
    [
        (answer('icemic'), 'icemic', 'icemic', 1.0),
        ('There is "Icemic"  in the image', 'icemic', 'icemic', 1.0),
        (answer('ice cream'), 'icemic', 'ice cream', 0.0),
        # A label within another one is not it.
        (answer('catfish'), 'cat', 'catfish', 0.0),
        (answer('cat'), 'catfish', 'cat', 0.0),
        (answer('St. Bernard'), 'st. bernard', 'st. bernard', 1.0),
        (answer("jack-o'-lantern"), "jack-o'-lantern", "jack-o'-lantern", 1.0),
        # Words of the answer's own sentence are labels like any other.
        (answer('image'), 'image', 'image', 1.0),
        (answer('a'), 'image', 'a', 0.0),
        (answer('in the image'), 'in the image', 'in the image', 1.0),
        (answer('x" in the image.'), 'x', 'x" in the image', 0.0),
        (answer('"St. Bernard".'), 'St. Bernard', 'st. bernard', 1.0),
        (answer('12" record'), '12" record', '12" record', 1.0),
        (answer('st bernard'), 'St. Bernard', 'st bernard', 0.0),
        (answer('\u00c9CLAIR'), '\u00e9clair', '\u00e9clair', 1.0),
        # Both names are one wrong label.
        ('there is "icemic" and "ice cream" in the image.', 'icemic', 'icemic" and "ice cream', 0.0),
        # The label and nothing else is an answer too.
        ('icemic.', 'icemic', 'icemic', 1.0),
        ('ice cream', 'icemic', 'ice cream', 0.0),
        # Everything else cannot be parsed.
        (answer('icemic') + ' And more.', 'icemic', None, 0.0),
        ('I think there is "icemic" in the image.', 'icemic', None, 0.0),
        ('there is icemic', 'icemic', None, 0.0),
        ('there is "" in the image.', 'icemic', None, 0.0),
        (answer('there is "icemic'), 'icemic', None, 0.0),
        ('', 'icemic', None, 0.0),
    ],
)
def test_generation(pred, label, extracted, score):
    (row,) = LinkContextAccuracy().per_sample([make(pred, label)])
    assert (row['extracted'], row['correct'], row['parsed']) == (extracted, score, extracted is not None)


def test_parse_failures_are_counted_apart_and_are_wrong():
    numbers = LinkContextAccuracy().compute(
        [make(answer('icemic')), make('what?', index=1), make(answer('x'), index=2)]
    )
    assert numbers['accuracy'] == pytest.approx(1 / 3)
    assert (numbers['n'], numbers['parse_failures']) == (3, 1)
    assert numbers['accuracy_ci_low'] < 1 / 3 < numbers['accuracy_ci_high']


@pytest.mark.parametrize(
    ('scores', 'right'), [((-1.0, -2.0), 1.0), ((-2.0, -1.0), 0.0), ((-1.0, -1.0), 0.0), ((math.nan, -1.0), 0.0)]
)
def test_likelihood_takes_the_best_and_a_tie_is_wrong(scores, right):
    numbers = LinkContextAccuracy().compute([make('', scores=scores)])
    assert numbers['likelihood_accuracy'] == right
    assert numbers['accuracy'] == 0.0
    assert numbers['likelihood_accuracy_ci_low'] <= right <= numbers['likelihood_accuracy_ci_high']


def test_likelihood_does_not_depend_on_the_order_of_candidates():
    prediction = make('', scores=(-1.0, -2.0))
    prediction.meta['candidates'].reverse()
    prediction.score = dict(reversed(prediction.score.items()))
    assert LinkContextAccuracy().compute([prediction])['likelihood_accuracy'] == 1.0


def test_samples_without_scores_have_no_likelihood():
    numbers = LinkContextAccuracy().compute([make('', scores=()), make('', index=1)])
    assert numbers['likelihood_accuracy'] == 1.0
    assert 'likelihood_accuracy' not in LinkContextAccuracy().compute([make('', scores=())])


def test_a_candidate_without_score_is_an_error():
    prediction = make('', index=5)
    prediction.meta['candidates'].append(answer('third'))
    with pytest.raises(ValueError, match=r'sample 5: no score for .*third'):
        LinkContextAccuracy().compute([prediction])


def test_original_label_rate_of_a_control():
    predictions = [
        make(answer('new'), 'new', 'old', original_label='old'),
        make(answer('Old'), 'new', 'old', index=1, original_label='old'),
        make(answer('old'), 'new', 'old', index=2, original_label='old'),
        make('?', 'new', 'old', index=3, original_label='old'),
    ]
    numbers = LinkContextAccuracy().compute(predictions)
    assert (numbers['accuracy'], numbers['original_label_rate']) == (0.25, 0.5)
    assert 'original_label_rate' not in LinkContextAccuracy().compute([make('')])


def test_queries_that_share_supports_widen_both_intervals():
    def numbers(size):
        predictions = [
            make(answer('icemic' if i // 10 % 2 else 'x'), index=i, support_key=str(i // size)) for i in range(200)
        ]
        return LinkContextAccuracy().compute(predictions)

    alone, shared = numbers(1), numbers(10)
    assert alone['accuracy'] == shared['accuracy'] == 0.5
    assert shared['accuracy_ci_high'] - shared['accuracy_ci_low'] > 1.5 * (
        alone['accuracy_ci_high'] - alone['accuracy_ci_low']
    )


def test_the_label_may_come_from_the_target():
    prediction = Prediction(0, answer('cat'), answer('Cat'))
    assert LinkContextAccuracy().compute([prediction])['accuracy'] == 1.0
    with pytest.raises(ValueError, match="give meta\\['label'\\]"):
        LinkContextAccuracy().compute([Prediction(3, answer('cat'), 'a cat')])


def test_other_answer_templates():
    metric = METRICS.build({'type': 'LinkContextAccuracy', 'answer_template': 'This is a <label>!'})
    assert metric.compute([Prediction(0, 'this is a  Cat!', 'This is a cat!')])['accuracy'] == 1.0
    with pytest.raises(ValueError, match='<label> exactly once'):
        LinkContextAccuracy(answer_template='no place')


def test_no_predictions():
    assert LinkContextAccuracy().compute([]) == {'n': 0, 'parse_failures': 0}


# Names that stand within each other, and names of anything at all.
names = st.one_of(
    st.lists(st.sampled_from(['cat', 'fish', 'a', 'image', 'in the ', 'St. ', "o'", '"', ' ']), max_size=4).map(
        ''.join
    ),
    st.text(max_size=12),
)
labels_of_an_episode = st.lists(names, min_size=2, max_size=4, unique_by=normalise_answer).filter(
    lambda labels: all(map(normalise_answer, labels))
)


@given(labels_of_an_episode)
@example(['crane', 'crane 2', 'crane.2'])
@example(["jack-o'-lantern", 'jack-o-lantern', "'jack o lantern"])
@example(['a', 'image', 'in the image', 'a" in the image'])
def test_every_label_is_told_from_every_other(labels):
    for right in labels:
        meta = {'label': right, 'labels': labels}
        predictions = [Prediction(index, answer(label), answer(right), meta) for index, label in enumerate(labels)]
        rows = LinkContextAccuracy().per_sample(predictions)
        assert [row['correct'] for row in rows] == [float(label == right) for label in labels]
        assert all(row['parsed'] for row in rows)


@given(st.text(alphabet='abcXYZ .\'"-', min_size=1).filter(normalise_answer))
def test_case_and_blanks_do_not_count(label):
    meta = {'label': label, 'labels': [label, 'something else']}
    texts = [answer(label.upper()), answer(label.lower()), f'  {answer(label)} \n', answer(label).replace(' ', '  ')]
    predictions = [Prediction(index, text, answer(label), meta) for index, text in enumerate(texts)]
    assert [row['correct'] for row in LinkContextAccuracy().per_sample(predictions)] == [1.0] * len(texts)


def test_legacy_stands_beside_accuracy_with_an_interval():
    predictions = [
        make(answer('icemic')),
        make(answer('ICEMIC'), index=1),
        make(answer('catfish'), 'cat', 'catfish', index=2),
        make('icemic, I think', index=3),
        # Without labels there is no contrast, and no verdict.
        Prediction(4, answer('icemic'), answer('icemic')),
    ]
    rows = LinkContextAccuracy().per_sample(predictions)
    assert [row['correct'] for row in rows] == [1.0, 1.0, 0.0, 0.0, 1.0]
    assert [row.get('legacy_correct') for row in rows] == [1.0, 0.0, 1.0, 1.0, None]
    assert [row['parsed'] for row in rows] == [True, True, True, False, True]
    numbers = LinkContextAccuracy().compute(predictions)
    assert (numbers['accuracy'], numbers['legacy_accuracy']) == (0.6, 0.75)
    assert numbers['legacy_accuracy_ci_low'] < 0.75 < numbers['legacy_accuracy_ci_high']


@pytest.mark.parametrize(
    'labels', [['crane', 'crane'], ['Crane', 'crane'], ['St.', 'St'], ['cat', ' ."'], ['a', 'b', 'A']]
)
def test_classes_of_one_name_are_refused(labels):
    meta = {'label': labels[0], 'labels': labels}
    faulty = [Prediction(index, answer(labels[0]), answer(labels[0]), meta) for index in range(40, 55)]
    with pytest.raises(ValueError, match='15 of 16 episodes have labels') as error:
        LinkContextAccuracy().compute([make(''), *faulty])
    assert f'sample 40: {", ".join(map(repr, labels))}' in str(error.value)
    assert '... and 5 more' in str(error.value)
    # What each answer was can still be written.
    assert len(LinkContextAccuracy().per_sample(faulty)) == 15


def test_the_same_name_in_different_episodes_is_no_fault():
    predictions = [make(answer('crane'), 'crane', 'heron'), make(answer('crane'), 'crane', 'digger', index=1)]
    assert LinkContextAccuracy().compute(predictions)['accuracy'] == 1.0


CLASSES = ['cat', 'catfish', 'St. Bernard', "jack-o'-lantern"]


@st.composite
def evaluations(draw):
    """Predictions over a few classes, right, wrong and unparsable, some without scores or classes."""
    predictions = []
    for index in range(draw(st.integers(1, 25))):
        right, other = draw(st.permutations(CLASSES))[:2]
        pred = draw(st.sampled_from([answer(right), answer(other), answer(right.upper()), '?', right]))
        classes = {'class': right, 'classes': draw(st.permutations([right, other]))}
        scores = draw(st.sampled_from([(-1.0, -2.0), (-2.0, -1.0), ()]))
        predictions.append(make(pred, right, other, scores, index, **(classes if draw(st.booleans()) else {})))
    return predictions


@settings(max_examples=50, deadline=None)
@given(evaluations(), st.randoms(use_true_random=False))
def test_the_order_of_predictions_does_not_matter(predictions, rng: random.Random):
    metric, shuffled = LinkContextAccuracy(), rng.sample(predictions, len(predictions))
    assert metric.compute(shuffled) == metric.compute(predictions)
    assert metric.tables(shuffled) == metric.tables(predictions)


@settings(max_examples=50, deadline=None)
@given(evaluations())
def test_tables_add_up_to_the_whole(predictions):
    metric = LinkContextAccuracy()
    listed = [prediction for prediction in predictions if 'class' in prediction.meta]
    whole, tables = metric.compute(listed), metric.tables(predictions)
    assert set(tables) == {'by_class', 'by_pair'}
    for rows in tables.values():
        assert sum(row['n'] for row in rows) == whole['n']
        assert sum(row['parse_failures'] for row in rows) == whole['parse_failures']
        for name in ('accuracy', 'legacy_accuracy') if listed else ():
            assert sum(row[name] * row['n'] for row in rows) == pytest.approx(whole[name] * whole['n'])


def test_tables_name_classes_and_unordered_pairs_the_worst_first():
    predictions = [
        make(answer('cat'), 'cat', 'dog', index=0, **{'class': 'cat', 'classes': ['cat', 'dog']}),
        make(answer('dog'), 'dog', 'cat', index=1, **{'class': 'dog', 'classes': ['dog', 'cat']}),
        make('?', 'dog', 'cat', (-2.0, -1.0), index=2, **{'class': 'dog', 'classes': ['cat', 'dog']}),
        make(answer('x'), 'owl', 'cat', index=3, **{'class': 'owl', 'classes': ['owl', 'cat']}),
        make(answer('x'), 'owl', 'cat', index=4, **{'class': 'owl', 'classes': ['owl', 'cat']}),
        make(answer('x'), 'ant', 'cat', index=5, **{'class': 'ant', 'classes': ['ant', 'cat']}),
        # An episode that does not tell its classes.
        make(answer('icemic'), index=6),
    ]
    tables = LinkContextAccuracy().tables(predictions)
    assert [row['class'] for row in tables['by_class']] == ['owl', 'ant', 'dog', 'cat']
    assert [row['classes'] for row in tables['by_pair']] == [('cat', 'owl'), ('ant', 'cat'), ('cat', 'dog')]
    dog, pair = tables['by_class'][2], tables['by_pair'][2]
    assert (dog['n'], dog['parse_failures'], dog['accuracy'], dog['likelihood_accuracy']) == (2, 1, 0.5, 0.5)
    assert dog['accuracy_ci_low'] < 0.5 < dog['accuracy_ci_high']
    assert (pair['n'], pair['parse_failures']) == (3, 1)
    assert pair['accuracy'] == pytest.approx(2 / 3)
