"""The adapters on cases written here, in the form of the golden files."""

import pytest

from tests.golden.metrics import RUNNERS, SANE


def case(group, rows, *samples):
    prompt = 'USER: what is in the image <im_start><im_patch><im_end>? ASSISTANT: there is "{}" in the image.</s>'
    fields = ('positive_promt', 'negative_promt') if group == 'isekai' else ('class_name',)
    rows = [row if group == 'isekai' else (row,) for row in rows]
    return {
        'group': group,
        'annotation_rows': [dict(zip(fields, row, strict=True)) for row in rows],
        'samples': [{'pred': pred, 'target': prompt.format(label)} for pred, label in samples],
    }


def both(case):
    """Accuracy by the released rule and by ours; None where a case is refused."""
    found = []
    for runners in (RUNNERS, SANE):
        try:
            found.append(runners[case['group']](case)['accuracy'])
        except ValueError:
            found.append(None)
    return tuple(found)


CATS = [('cat', 'catfish'), ('St. Paul', 'city')]
FOXES = ['Kit fox', 'dog', 'Crane', 'crane', "jack-o'-lantern", 'lamp']


@pytest.mark.parametrize(
    ('case', 'expected'),
    [
        (case('isekai', CATS, ('there is "cat" in the image.</s><unk>', 'cat')), (1.0, 1.0)),
        (case('isekai', CATS, ('there is "catfish" in the image.</s>', 'cat')), (1.0, 0.0)),
        (case('isekai', [('cat', 'dog')], ('there is "cat" in the image.</s> dog', 'cat')), (0.0, 1.0)),
        # The second sample is judged by the second row's pair, whatever its label.
        (case('isekai', CATS, ('cat', 'cat'), ('a cat in the city', 'cat')), (0.5, 0.5)),
        (case('isekai', [('crane', 'Crane')], ('crane', 'crane')), (None, None)),
        (case('isekai', CATS[:1], ('cat', 'cat'), ('cat', 'cat')), (None, 1.0)),
        (case('isekai', CATS), (None, None)),
        (case('imagenet100', FOXES, ('there is "kit fox" in the image.', 'kit fox')), (1.0, 1.0)),
        (case('imagenet100', FOXES, ('there is "Dog" in the image.', 'dog')), (0.0, 1.0)),
        (case('imagenet100', FOXES, ('dog kit fox', 'dog')), (0.0, 0.0)),
        (case('imagenet100', FOXES, ('there is "crane" in the image.', 'crane')), (1.0, None)),
        (case('imagenet100', FOXES, ('there is "zebra" in the image.', 'zebra')), (None, None)),
        (case('imagenet100', FOXES, ('there is "jack-o\'-lantern" in the image.', "jack-o'-lantern")), (None, 1.0)),
        (case('imagenet100', FOXES[:3], ('dog', 'dog')), (None, None)),
    ],
)
def test_released_and_sane(case, expected):
    assert both(case) == expected
