import math

import pytest

from mllm.metric.link_context import LinkContextAccuracy
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
        ('', 'icemic', None, 0.0),
    ],
)
def test_generation(pred, label, extracted, score):
    (row,) = LinkContextAccuracy().per_sample([make(pred, label)])
    assert (row['extracted'], row['score'], row['parsed']) == (extracted, score, extracted is not None)


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
