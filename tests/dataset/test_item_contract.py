"""Items that are none are refused in one line; those of the contract pass."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from mllm.dataset.item_contract import check_item

PICTURE = Image.new('RGB', (4, 4))


def item(question: str = 'What is <image>?', answer: str = 'a cat', **changes: Any) -> Any:
    turns = [{'from': 'human', 'value': question}, {'from': 'gpt', 'value': answer}]
    return {'image': PICTURE, 'conversations': turns, **changes}


@pytest.mark.parametrize(
    'good',
    [
        item(),
        item('What?', image=None),
        item('What?', image=None, target=None),
        item(target={'boxes': np.zeros((1, 4)), 'points': ()}),
        item('What?', image=None, target={'boxes': []}),
        item('<image> or <image>?', image=[PICTURE, PICTURE], target=[None, {'boxes': [[0, 0, 1, 1]]}]),
        item('<image>?', image=[PICTURE]),
        item('What?', image=[]),
    ],
)
def test_items_of_the_contract(good: Any):
    check_item(good)


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (None, 'returned a NoneType'),
        ({'image': PICTURE}, 'conversations is None'),
        (item(conversations='hello'), "conversations is 'hello'"),
        (item(conversations=['hello']), 'expected a list of turns'),
        (item(conversations=[{'from': 'human'}, {'from': 'gpt', 'value': 'x'}]), 'a turn needs from and value'),
        (item(answer=None), 'a turn needs from and value'),  # type: ignore[arg-type]
        (item(image='a.png'), 'image is a str'),
        (item(image=np.zeros((4, 4, 3))), 'image is a ndarray'),
        (item(image=[PICTURE, PICTURE]), 'with 2 images has 1 <image> placeholders'),
        (item(image=[PICTURE, 'a.png']), 'image is a str'),
        (item(image=[PICTURE], target={'boxes': []}), 'has a list of as many'),
        (item(image=[PICTURE], target=[None, None]), 'has a list of as many'),
        (item(image=[PICTURE], target=[{'boxes': None}]), 'boxes is None'),
        (item('What?'), 'with 1 images has 0 <image> placeholders'),
        (item('What?', 'it is <image>'), 'an answer has 1 <image> placeholders'),
        (item(target=[[1, 2, 3, 4]]), 'target is'),
        (item(target={'boxes': None}), 'boxes is None'),
        (item(target={'bboxes': [[1, 2, 3, 4]]}), "target has no 'bboxes'; did you mean 'boxes'"),
        (item('What?', image=None, target={'points': [[1, 2]]}), 'points need an image'),
    ],
)
def test_what_is_no_item_is_refused(bad: Any, message: str):
    with pytest.raises(ValueError, match=message):
        check_item(bad)
