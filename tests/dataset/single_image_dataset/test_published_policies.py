"""The published policies: what an episode shows and answers, and how often its parts are drawn."""

import ast
import math
import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.single_image_dataset.published_policies import REFERENCES_QUESTION
from mllm.registry import POLICIES
from mllm.utils.rng import ItemRng

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
INDEX, SEED, SHOT = st.integers(0, 6), st.integers(0, 999), st.integers(1, 7)
PUBLISHED = (
    *('policy_2way', 'policy_2way_random', 'policy_2way_weight', 'policy_2way_ref', 'policy_jigsaw'),
    *('legacy_policy_2way_weight', 'legacy_policy_2way_random_shot', 'policy_2way_ref_or_weight'),
)
TWO_WAY = [name for name in PUBLISHED if not re.search('ref|jigsaw', name)]


@pytest.fixture(scope='module')
def bank(world):
    return ClassBank(world.filename, world.folder)


@pytest.fixture
def draw(bank):
    def episode(name, index=0, shot=3, seed=0, **parameters):
        return POLICIES.get(name)(bank, index, shot, ItemRng(seed, 0, index), **parameters)

    return episode


def answer(item):
    return item['conversations'][-1]['value']


def paths(items):
    return [item['meta']['image_path'] for item in items]


def signature(episode):
    items = [(item['conversations'], item['image'].tobytes(), item['meta']) for item in episode.items]
    return repr((items, episode.meta, episode.indivisible))


def chi_square(counts, weights):
    """Pearson's statistic of counts under the distribution of these weights."""
    total, mass = sum(counts.values()), sum(weights.values())
    assert set(counts) <= set(weights)
    expected = {key: total * weight / mass for key, weight in weights.items()}
    return sum((counts.get(key, 0) - expected[key]) ** 2 / expected[key] for key in weights)


CRITICAL = {1: 10.8, 2: 13.8, 3: 16.3, 4: 18.5}
"""Pearson's statistic is larger by chance once in a thousand times, by degrees of freedom."""


@pytest.mark.parametrize('name', TWO_WAY)
@FEW
@given(index=INDEX, seed=SEED, shot=SHOT)
def test_a_two_way_episode(world, bank, draw, name, index, seed, shot):
    episode = draw(name, index, shot, seed)
    own, contrast = episode.meta['labels']
    assert re.fullmatch('[a-z]{1,10}', own)
    shown = Counter(world.class_of(item) for item in episode.support)
    (other,) = set(shown) - {index}
    assert contrast == bank[other].label
    assert other in bank[index].neighbours
    assert set(shown.values()) == {episode.meta['shot']}
    assert 1 <= episode.meta['shot'] <= shot
    for item in episode.items:
        label = own if world.class_of(item) == index else contrast
        assert answer(item).startswith(f'there is "{label}" in the image.')
    assert [item['conversations'][1]['supervised'] for item in episode.items] == [False] * len(episode.support) + [True]


@pytest.mark.parametrize('name', PUBLISHED)
@FEW
@given(index=INDEX, seed=SEED, shot=SHOT)
def test_the_query_is_no_support_and_nothing_else_has_a_say(draw, name, index, seed, shot):
    episode = draw(name, index, shot, seed)
    if episode.meta['names'] != 'jigsaw':  # whose supports are parts of the query
        assert episode.meta['image_path'] not in paths(episode.support)
    random.seed(index)
    np.random.seed(seed)
    draw(name, (index + 1) % 7, shot, seed)
    assert signature(draw(name, index, shot, seed)) == signature(episode)


@pytest.mark.parametrize('name', [name for name in TWO_WAY if 'legacy' not in name])
def test_images_repeat_only_when_a_class_has_too_few(draw, name):
    for seed in range(30):
        # 8 images of a class, one of which may be the query.
        assert len(set(paths(draw(name, shot=7, seed=seed).support))) == len(draw(name, shot=7, seed=seed).support)


def test_the_legacy_policies_draw_with_replacement(draw):
    repeated = [
        len(set(paths(episode.support))) < len(episode.support)
        for episode in (draw('legacy_policy_2way_weight', shot=7, seed=seed) for seed in range(30))
    ]
    # All 7 of 7 or 8 images differ in less than one of fifty draws, of either class.
    assert all(repeated)


@pytest.mark.parametrize(
    ('name', 'weight'),
    [
        ('policy_2way_random', lambda shot: 1),
        ('policy_2way_weight', lambda shot: math.exp(2 * shot)),
        ('legacy_policy_2way_random_shot', lambda shot: math.exp(shot / 2)),
    ],
)
def test_how_often_each_number_of_shots_is_drawn(draw, name, weight):
    shots = Counter(draw(name, index, 3, seed).meta['shot'] for seed in range(300) for index in range(7))
    assert chi_square(shots, {shot: weight(shot) for shot in (1, 2, 3)}) < CRITICAL[2]


@pytest.mark.parametrize('name', ['policy_2way', 'legacy_policy_2way_weight'])
def test_shots_contrast_classes_and_queries_of_the_fixed_policies(bank, draw, name):
    contrasts, asked = Counter(), Counter()
    for seed in range(600):
        episode = draw(name, 0, 2, seed)
        contrasts[episode.meta['classes'][1]] += 1
        asked[episode.meta['labels'].index(episode.meta['label'])] += 1
        assert episode.meta['shot'] == 2
    ranked = {bank[position].name: 3 - rank for rank, position in enumerate(bank[0].neighbours)}
    assert chi_square(contrasts, ranked) < CRITICAL[2]
    assert chi_square(asked, {0: 1, 1: 1}) < CRITICAL[1]


def test_the_drawn_shots_do_not_follow_those_of_the_dataset(bank):
    # A dataset's own distribution of shots and the policy's draw from generators of their own.
    rng = [ItemRng(seed) for seed in range(400)]
    outer = [int(r('shot').integers(2)) for r in rng]
    inner = [POLICIES.get('policy_2way_random')(bank, 0, 2, r).meta['shot'] for r in rng]
    agree = Counter(a + 1 == b for a, b in zip(outer, inner, strict=True))
    assert chi_square(agree, {True: 1, False: 1}) < CRITICAL[1]


@pytest.mark.parametrize('name', TWO_WAY + ['policy_2way_ref_or_weight'])
def test_the_query_asks_one_of_the_given_questions(draw, name):
    texts = ['first <image>?', 'second <image>?']
    asked = {
        episode.query['conversations'][0]['value']
        for episode in (draw(name, seed=seed, query_questions=texts) for seed in range(30))
    }
    assert asked == {*texts, *([REFERENCES_QUESTION] if 'ref' in name else [])}


@FEW
@given(index=INDEX, seed=SEED, shot=st.integers(1, 8))
def test_the_references_named_are_those_of_the_query_s_class_in_their_order(world, draw, index, seed, shot):
    episode = draw('policy_2way_ref', index, shot, seed)
    names = []
    for item in episode.support:
        question, reply = (turn['value'] for turn in item['conversations'])
        assert question == '[BEGIN EXAMPLE] Tell me something about this image <image>.'
        match = re.fullmatch(
            r'The reference name of this image is "([a-z]{1,10}_[a-z]{1,10})"\. \[END EXAMPLE\]', reply
        )
        assert match
        names.append(match[1])
        assert item['meta']['label'] == match[1]
    (mark,) = {name.split('_')[1] for name in names}
    assert len(set(names)) == len(names)
    listed, end = answer(episode.query).split('._')
    assert end == mark
    asked = world.class_of(episode.query)
    assert ast.literal_eval(listed) == [
        name for name, item in zip(names, episode.support, strict=True) if world.class_of(item) == asked
    ]
    assert episode.query['conversations'][0]['value'] == REFERENCES_QUESTION
    # Both classes' lists are candidates, the right one is the label.
    assert episode.meta['label'] == answer(episode.query) in episode.meta['candidates']
    assert len(set(episode.meta['candidates'])) == 2
    assert min(3, shot) <= episode.meta['shot'] <= shot
    assert len(names) == 2 * episode.meta['shot']
    assert episode.indivisible


def test_how_many_references(draw):
    shots = Counter(draw('policy_2way_ref', index, 6, seed).meta['shot'] for seed in range(60) for index in range(7))
    assert chi_square(shots, dict.fromkeys((3, 4, 5, 6), 1)) < CRITICAL[3]
    asked = Counter(draw('policy_2way_ref', 0, 3, seed).meta['class'] == 'Red Fox' for seed in range(300))
    assert chi_square(asked, {True: 1, False: 1}) < CRITICAL[1]


def test_ref_or_weight_is_a_fair_coin_under_two_names(draw):
    assert POLICIES.get('ref_or_weight') is POLICIES.get('policy_2way_ref_or_weight')
    kinds = Counter(draw('ref_or_weight', 1, 2, seed).meta['names'] for seed in range(400))
    assert chi_square(kinds, {'reference': 1, 'mixed': 1}) < CRITICAL[1]
    for seed in range(4):
        episode = draw('ref_or_weight', 1, 2, seed)
        name = {'reference': 'policy_2way_ref', 'mixed': 'policy_2way'}[episode.meta['names']]
        assert signature(episode) == signature(draw(name, 1, 2, seed))
