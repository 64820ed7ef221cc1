"""The released substring rule: known verdicts, and the same rule written once more in other words."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mllm.metric.link_context_legacy import legacy_contrasts, legacy_correct, legacy_label

# Names and answers of parts that stand within each other, and of all that the rule deletes.
NAMES = ['a', 'im', 'cat', 'fish', 'Cat', 'image', '\u00c9e']
DELETED = ['there is', 'in the image', 'The answer is', '.', "'", '"', ' ']
texts = st.lists(st.sampled_from(NAMES + DELETED), max_size=6).map(''.join)


def verdict(pred, label, *labels):
    return legacy_correct(pred, label, legacy_contrasts(label, labels))


@pytest.mark.parametrize(
    ('pred', 'label', 'labels', 'right'),
    [
        ('there is "icemic" in the image.', 'icemic', ['icemic', 'ice cream'], True),
        ('icemic icemic, it seems', 'icemic', ['icemic', 'ice cream'], True),
        ('there is "icemic" and "ice cream" in the image.', 'icemic', ['icemic', 'ice cream'], False),
        ('', 'icemic', ['icemic', 'ice cream'], False),
        # Case counts in the answer, not in the label.
        ('there is "robo bee" in the image.', 'Robo Bee', ['Robo Bee', 'bee'], True),
        ('there is "Robo Bee" in the image.', 'Robo Bee', ['Robo Bee', 'bee'], False),
        # A label within its contrast, and a contrast within the answer sentence.
        ('there is "catfish" in the image.', 'cat', ['cat', 'catfish'], True),
        ('there is "cat" in the image.', 'catfish', ['cat', 'catfish'], False),
        ('there is "image" in the image.', 'im', ['im', 'image'], True),
        ('there is "dog" in the image.', 'dog', ['dog', 'a'], False),
        # Punctuation is deleted from the label alone.
        ('there is "St. Bernard" in the image.', 'St. Bernard', ['St. Bernard', 'collie'], False),
        ('there is "st bernard" in the image.', 'St. Bernard', ['St. Bernard', 'collie'], True),
        ('there is "jack-o\'-lantern" in the image.', "jack-o'-lantern", ["jack-o'-lantern", 'lamp'], False),
        # A contrast keeps its punctuation, but not its case.
        ('collie, or st. bernard', 'collie', ['collie', 'St. Bernard'], False),
        ('collie, or st bernard', 'collie', ['collie', 'St. Bernard'], True),
        # The second label, with a dot, is its own contrast: the first one may be named beside it.
        ('st bernard or collie', 'St. Bernard', ['collie', 'St. Bernard'], True),
        ('st bernard or collie', 'St. Bernard', ['St. Bernard', 'collie'], False),
        # Two classes of one name.
        ('crane', 'crane', ['Crane', 'crane'], True),
    ],
)
def test_verdicts(pred, label, labels, right):
    assert verdict(pred, label, *labels) is right


def test_of_more_than_two_labels_all_others_are_contrasts():
    labels = ['cat', 'St. Bernard', 'vase']
    assert verdict('vase', 'vase', *labels)
    assert not verdict('vase or cat', 'vase', *labels)
    assert not verdict('vase or st. bernard', 'vase', *labels)
    assert verdict('st bernard', 'St. Bernard', *labels)
    assert not verdict('st bernard, vase', 'St. Bernard', *labels)
    assert legacy_contrasts('cat', ['cat']) == []


def released(pred, target, pair):
    """The rule in other words: a target is an answer sentence, of the pair's differing names the last counts."""
    found = target
    for words in ('The answer is', 'there is', 'in the image'):
        found = ''.join(re.split(re.escape(words), found))
    found = re.sub('["\'.]', '', found).strip().lower()
    contrast = None
    for name in pair:
        contrast = contrast if name.lower() == found else name.lower()
    if contrast is None:
        return None
    pieces = pred.split(found) if found else ['', pred]
    return len(pieces) > 1 and ''.join(pieces).find(contrast) < 0


@given(texts, texts, texts, st.booleans())
@example('there is "cat" in the image.', 'cat', 'catfish', False)
@example('there is "catfish" in the image.', 'cat', 'catfish', True)
@example('a image', "a'", 'im', True)
def test_equals_the_rule_in_other_words(pred, label, other, second):
    pair = [other, label] if second else [label, other]
    expected = released(pred, f'there is "{label}" in the image.', pair)
    if expected is not None:
        assert verdict(pred, label, *pair) is expected


@given(texts)
def test_the_label_of_an_answer_is_that_of_the_label_alone(label):
    assert legacy_label(f'there is "{label}" in the image.') == legacy_label(label)
