"""The jigsaw policy: from the answer alone, the tiles go back to where they were."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.single_image_dataset.class_bank import ImageClass
from mllm.dataset.single_image_dataset.controls import apply_control
from mllm.dataset.single_image_dataset.jigsaw import policy_jigsaw
from mllm.utils.rng import ItemRng


class OneImage:
    """A bank of one class with one image of noise."""

    def __init__(self, width, height):
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        self.image = Image.fromarray(noise)

    def __getitem__(self, index):
        return ImageClass('1', 'fox', ('a.png',), ('a.png',))

    def load(self, path):
        return self.image.copy()


def places_in(episode):
    text = episode.query['conversations'][1]['value']
    assert text.startswith('The order is: ')
    assert text.endswith(']].')
    return [tuple(place) for place in json.loads(text.removeprefix('The order is: ').removesuffix('.'))]


@settings(max_examples=60, deadline=None)
@given(width=st.integers(4, 40), height=st.integers(4, 40), seed=st.integers(0, 999))
def test_the_answer_puts_the_tiles_together_again(width, height, seed):
    bank = OneImage(width, height)
    episode = policy_jigsaw(bank, 0, 3, ItemRng(seed))
    places = places_in(episode)
    assert len(places) == len(set(places)) == len(episode.support)
    tiles = dict(zip(places, (np.asarray(item['image']) for item in episode.support), strict=True))
    columns, rows = (max(axis) + 1 for axis in zip(*places, strict=True))
    assert len(tiles) == columns * rows
    rebuilt = np.vstack([np.hstack([tiles[column, row] for column in range(columns)]) for row in range(rows)])
    # The query is the whole image, and no pixel of it is lost.
    assert np.array_equal(rebuilt, np.asarray(bank.image))
    assert np.array_equal(np.asarray(episode.query['image']), np.asarray(bank.image))


def test_all_grids_and_no_order_of_their_own():
    episodes = [policy_jigsaw(OneImage(12, 12), 0, 1, ItemRng(seed)) for seed in range(300)]
    grids = Counter(tuple(max(axis) + 1 for axis in zip(*places_in(episode), strict=True)) for episode in episodes)
    assert set(grids) == {(2, 2), (2, 3), (3, 2), (3, 3), (3, 4), (4, 3), (4, 4)}
    # Five numbers of tiles come up equally often.
    tiles = Counter(columns * rows for columns, rows in grids.elements())
    assert all(35 < count < 90 for count in tiles.values())
    in_order = sum(places_in(episode) == sorted(places_in(episode)) for episode in episodes)
    assert in_order < 15


def test_texts_and_what_is_learnt():
    episode = policy_jigsaw(OneImage(9, 9), 0, 1, ItemRng(0))
    for item in episode.support:
        question, answer = item['conversations']
        assert question['value'] == '[BEGIN EXAMPLE] This image <image> is a puzzle piece.'
        assert (answer['value'], answer['supervised']) == ('[END EXAMPLE]', False)
    question, answer = episode.query['conversations']
    assert question['value'] == (
        'Using the puzzle pieces provided above to piece together this image <image>, and provide the coordinates of '
        'each piece on the image coordinate system in order.'
    )
    assert answer['supervised']
    assert episode.meta['label'] == answer['value']
    assert episode.meta['support'] == [item['meta'] for item in episode.support]
    assert episode.indivisible


def test_too_small_an_image():
    with pytest.raises(ValueError, match=r'a\.png: 1x9 pixels are too few for \dx\d tiles'):
        policy_jigsaw(OneImage(1, 9), 0, 1, ItemRng(0))


def test_names_cannot_be_exchanged_where_there_are_none():
    episode = policy_jigsaw(OneImage(9, 9), 0, 1, ItemRng(0))
    with pytest.raises(ValueError, match=r"permute_labels.*do not name its classes.*use control='blank_supports'"):
        apply_control(episode, 'permute_labels')
    blank = apply_control(episode, 'blank_supports')
    assert blank.query['image'].tobytes() == episode.query['image'].tobytes()
    assert {item['image'].getpixel((0, 0)) for item in blank.support} == {(255, 255, 255)}
    assert blank.indivisible
