"""The laws of an episode, read from the pixels of what it shows."""

import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.single_image_dataset.drawing import draw_labels, draw_words
from mllm.dataset.single_image_dataset.episode_parts import QUERY_QUESTION
from mllm.dataset.single_image_dataset.policies import fixed_supports, link_context
from mllm.dataset.single_image_dataset.query_bank import IsekaiBank
from mllm.registry import POLICIES
from mllm.types import IMAGE_PLACEHOLDER
from mllm.utils.rng import ItemRng

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

parameters = st.fixed_dictionaries(
    {
        'ways': st.integers(2, 4),
        'names': st.sampled_from(['invented', 'real', 'mixed', {'invented': 0.5, 'real': 0.5}]),
        'negatives': st.sampled_from(['hard', 'easy', 0.3]),
        'queries': st.integers(1, 5),
    }
)


@pytest.fixture(scope='module')
def bank(world):
    return ClassBank(world.filename, world.folder)


@pytest.fixture(scope='module')
def grouped(world):
    return ClassBank(world.filename, world.folder, distinct_groups=True)


def label_in(item):
    match = re.fullmatch(r'there is "(.*)" in the image\.( \[END EXAMPLE\])?', item['conversations'][1]['value'])
    assert match
    return match[1]


def signature(episode):
    """All that can differ between two episodes: texts, flags, pixels, meta."""
    items = [(item['conversations'], item['image'].tobytes(), item['meta']) for item in episode.items]
    return repr((items, episode.meta))


def paths(items):
    return [item['meta']['image_path'] for item in items]


@SLOW
@given(index=st.integers(0, 6), seed=st.integers(0, 999), shot=st.integers(1, 9), params=parameters)
def test_every_image_is_shown_with_the_label_of_its_class(world, bank, index, seed, shot, params):
    episode = link_context(bank, index, shot, ItemRng(seed, 0, index), **params)
    label_of = {}
    for item in episode.items:
        assert label_of.setdefault(world.class_of(item), label_in(item)) == label_in(item)
        assert item['meta']['label'] == label_in(item)
        assert [turn['value'].count(IMAGE_PLACEHOLDER) for turn in item['conversations']] == [1, 0]
    assert index in label_of
    assert len(set(label_of.values())) == len(label_of) == params['ways']
    assert Counter(world.class_of(item) for item in episode.support) == dict.fromkeys(label_of, shot)


@SLOW
@given(index=st.integers(0, 6), seed=st.integers(0, 999), shot=st.integers(1, 9), params=parameters)
def test_a_query_is_never_a_support(bank, grouped, index, seed, shot, params):
    for some_bank in (bank, grouped):
        episode = link_context(some_bank, index, shot, ItemRng(seed, 0, index), **params)
        queries = paths([episode.query, *episode.earlier_queries])
        assert not set(queries) & set(paths(episode.support))
        assert len(episode.earlier_queries) == params['queries'] - 1


@SLOW
@given(index=st.integers(0, 6), seed=st.integers(0, 999), shot=st.integers(1, 9), params=parameters)
def test_the_group_of_a_query_is_in_no_support_of_any_class(world, grouped, index, seed, shot, params):
    # Were it only its own class that avoids the group, "not the class seen in the query's style" would be a shortcut.
    episode = link_context(grouped, index, shot, ItemRng(seed, 0, index), **params)
    queries = {world.group_of(item) for item in (episode.query, *episode.earlier_queries)}
    assert not queries & {world.group_of(item) for item in episode.support}


@SLOW
@given(index=st.integers(0, 6), seed=st.integers(0, 999), shot=st.integers(1, 4), params=parameters)
def test_fewer_shots_are_a_prefix_and_ask_the_same(world, grouped, index, seed, shot, params):
    rng = ItemRng(seed, 0, index)
    few, many = (link_context(grouped, index, k, rng, **params) for k in (shot, 2 * shot))
    for number in {world.class_of(item) for item in many.support}:
        of_class = [[i for i in e.support if world.class_of(i) == number] for e in (few, many)]
        assert not Counter(paths(of_class[0])) - Counter(paths(of_class[1]))
    assert [few.query['conversations'], few.meta['image_path']] == [
        many.query['conversations'],
        many.meta['image_path'],
    ]
    assert paths(few.earlier_queries) == paths(many.earlier_queries)
    assert few.meta['candidates'] == many.meta['candidates']


@SLOW
@given(index=st.integers(0, 6), seed=st.integers(0, 999), params=parameters)
def test_the_scored_query_does_not_depend_on_the_number_of_queries(grouped, index, seed, params):
    rng = ItemRng(seed, 0, index)
    one, more = (link_context(grouped, index, 2, rng, **{**params, 'queries': n}) for n in (1, params['queries']))
    assert one.meta['image_path'] == more.meta['image_path']
    assert one.meta['label'] == more.meta['label']


def test_supports_do_not_repeat_while_there_are_enough_images(grouped, bank):
    for seed in range(20):
        # 8 images of which one is the query, or two groups of two are left beside the query's group.
        for some_bank, enough in ((bank, 7), (grouped, 6)):
            episode = link_context(some_bank, 2, enough, ItemRng(seed), names='real')
            assert len(set(paths(episode.support))) == 2 * enough
        episode = link_context(grouped, 2, 8, ItemRng(seed), names='real')
        assert max(Counter(paths(episode.support)).values()) == 2


def test_same_key_same_episode_and_another_key_another(bank):
    def draw(seed, epoch, index):
        return signature(link_context(bank, index, 2, ItemRng(seed, epoch, index), negatives=0.5, queries=3))

    expected = draw(0, 0, 0)
    # Whatever other randomness a worker has used or inherited makes no difference.
    random.seed(5)
    np.random.seed(5)
    draw(0, 0, 1)
    assert draw(0, 0, 0) == expected
    assert len({expected, draw(0, 0, 1), draw(0, 1, 0), draw(1, 0, 0)}) == 4


def test_the_order_of_supports_is_shared_by_all_queries_of_a_support_set(world, tmp_path):
    # One support image per class: every episode of the two classes has the same support set.
    rows = [
        {**row, 'context_samples': row['context_samples'][:1]} for row in (world.hundred_row(0), world.hundred_row(1))
    ]
    world.write(tmp_path / 'two.jsonl', rows)
    bank = ClassBank(str(tmp_path / 'two.jsonl'), world.folder)
    episodes = [
        link_context(bank, index % 2, 1, ItemRng(0, 0, index), names='real', negatives='easy') for index in range(12)
    ]
    assert len({tuple(paths(episode.support)) for episode in episodes}) == 1
    assert len({episode.meta['support_key'] for episode in episodes}) == 1
    assert len({episode.meta['image_path'] for episode in episodes}) > 3


def test_both_orders_and_both_classes_come_up_equally_often(bank):
    first, asked = Counter(), Counter()
    for seed in range(300):
        episode = link_context(bank, 0, 1, ItemRng(seed), names='mixed')
        first[episode.support[0]['meta']['label'] == episode.meta['labels'][0]] += 1
        asked[episode.meta['class'] == 'Red Fox'] += 1
    assert 110 < first[True] < 190
    assert 110 < asked[True] < 190


def test_names(bank):
    def labels(names, index=0, **kwargs):
        return link_context(bank, index, 1, ItemRng(3), names=names, **kwargs).meta['labels']

    real = {'red fox', 'grey wolf', 'ice cream', 'st. bernard', 'crane', 'tea pot'}
    assert set(labels('real', ways=3)) <= real
    assert not set(labels('invented', ways=3)) & real
    mixed = labels('mixed', ways=3)
    assert mixed[0] not in real
    assert set(mixed[1:]) <= real
    assert all(re.fullmatch('[a-z]{4}', word) for word in labels('invented', word_length=(4, 4)))
    assert {len(labels('mixed', word_length=(2, 3), index=i)[0]) for i in range(7)} <= {2, 3}


def test_permuted_names_are_those_of_another_class_and_the_target_follows(world, bank):
    for seed in range(20):
        episode = link_context(bank, 1, 2, ItemRng(seed), names='permuted', ways=3)
        real = {number: bank[number].label for number in range(7)}
        for item in episode.items:
            assert label_in(item) != real[world.class_of(item)]
        assert episode.meta['original_label'] == real[world.class_of(episode.query)]
        assert episode.meta['original_label'] in episode.meta['labels']
        shown = {world.class_of(item): label_in(item) for item in episode.support}
        assert label_in(episode.query) == shown[world.class_of(episode.query)]


def test_probabilities_over_names():
    share = {'invented': 0.75, 'real': 0.25}
    kinds = Counter(draw_labels(['a', 'b'], share, (4, 4), ItemRng(seed))[0] for seed in range(400))
    assert set(kinds) == set(share)
    assert 260 < kinds['invented'] < 340


def test_hard_negatives_are_neighbours_and_the_nearest_come_most_often(world, bank):
    def contrasts(negatives):
        episodes = [link_context(bank, 0, 1, ItemRng(seed), negatives=negatives) for seed in range(300)]
        return Counter(next(n for n in map(world.class_of, e.support) if n != 0) for e in episodes)

    hard = contrasts('hard')
    # Weights 3, 2, 1.
    assert set(hard) == {1, 2, 3}
    assert 120 < hard[1] < 180 > 130 > hard[2] > 70 > hard[3]
    easy = contrasts('easy')
    assert set(easy) == {1, 2, 3, 4, 5, 6}
    assert max(easy.values()) < 80


def test_classes_of_one_name_never_meet(bank):
    for seed in range(40):
        episode = link_context(bank, 4, 1, ItemRng(seed), names='real', negatives='easy', ways=4)
        assert episode.meta['labels'].count('crane') == 1
    with pytest.raises(ValueError, match='only 6 classes of different names, and ways is 7'):
        link_context(bank, 4, 1, ItemRng(0), ways=7)


def test_an_invented_word_is_not_the_answer_of_a_real_name():
    names = [f'"{chr(ord("a") + number)}."' for number in range(12)]
    for seed in range(20):
        (word,) = draw_words(1, names, (1, 1), np.random.default_rng(seed))
        assert f'"{word}."' not in names


def test_the_published_texts(bank):
    episode = link_context(bank, 0, 1, ItemRng(0), names='real')
    assert episode.support[0]['conversations'][0]['value'] == '[BEGIN EXAMPLE] What is in the image <image>?'
    shown = episode.support[0]['meta']['label']
    assert episode.support[0]['conversations'][1]['value'] == f'there is "{shown}" in the image. [END EXAMPLE]'
    question, answer = episode.query['conversations']
    assert question['value'] == QUERY_QUESTION == 'Based on the previous examples, what is in the image <image>?'
    assert answer['value'] == f'there is "{episode.meta["label"]}" in the image.'
    assert answer['value'] in episode.meta['candidates']
    assert len(episode.meta['candidates']) == 2


def test_query_questions_are_drawn_per_query(bank):
    texts = ['first <image>?', 'second <image>?']
    episode = link_context(bank, 0, 1, ItemRng(0), queries=8, query_questions=texts)
    asked = {item['conversations'][0]['value'] for item in (episode.query, *episode.earlier_queries)}
    assert asked == set(texts)


def test_repeated_labels_of_supports_are_learnt_from_the_second_time_on(bank):
    for seed in range(10):
        episode = link_context(bank, 0, 3, ItemRng(seed), queries=2, supervise_supports='repeated')
        seen = set()
        for item in episode.support:
            label = item['meta']['label']
            assert item['conversations'][1]['supervised'] == (label in seen)
            seen.add(label)
        asked = (*episode.earlier_queries, episode.query)
        assert [item['conversations'][1]['supervised'] for item in asked] == [True, True]
    plain = link_context(bank, 0, 3, ItemRng(0))
    assert not any(item['conversations'][1]['supervised'] for item in plain.support)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'ways': 1}, 'at least 2 ways'),
        ({'queries': 0}, '1 query'),
        ({'names': 'invente'}, "no 'invente'; did you mean 'invented'"),
        ({'names': {'real': 0.5, 'mixed': 0.4}}, 'add up to 1'),
        ({'names': {}}, 'add up to 1'),
        ({'negatives': 'neighbours'}, "expected 'hard', 'easy' or the probability"),
        ({'negatives': 1.5}, '0..1'),
        ({'word_length': (0, 3)}, 'word_length'),
        ({'word_length': (1, 1), 'ways': 6, 'names': 'invented'}, ''),
        ({'supervise_supports': 'all'}, "'none' or 'repeated'"),
    ],
)
def test_wrong_parameters(bank, wrong, message):
    if not message:
        words = link_context(bank, 0, 1, ItemRng(0), **wrong).meta['labels']
        assert len(set(words)) == 6
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        link_context(bank, 0, 1, ItemRng(0), **wrong)


def test_hard_negatives_need_neighbours(world):
    bank = ClassBank(world.hundred, world.folder)
    with pytest.raises(ValueError, match="set negatives='easy'"):
        link_context(bank, 0, 1, ItemRng(0), negatives=0.3)


def test_the_100_format_parts_supports_from_queries(world):
    bank = ClassBank(world.hundred, world.folder, distinct_groups=True)
    for seed in range(10):
        episode = link_context(bank, 0, 4, ItemRng(seed), negatives='easy')
        assert {world.group_of(item) for item in episode.support} == {'noto', 'flat'}
        assert world.group_of(episode.query) in {'blob', 'ink'}


def test_isekai_shows_the_first_supports_of_the_file(world):
    bank = IsekaiBank(world.isekai, world.folder)
    for index in range(len(bank)):
        row = world.isekai_row(index)
        episode = fixed_supports(bank, index, 2, ItemRng(0, 0, index))
        shown = {(item['meta']['image_path'], label_in(item)) for item in episode.support}
        assert shown == {
            (path, row[f'{side}_promt']) for side in ('positive', 'negative') for path in row[f'{side}_list'][:2]
        }
        assert label_in(episode.query) == episode.meta['label'] == row['label_name']
        assert paths([episode.query]) == [row['image_name']]
    # Both queries of a pair share their supports, in the same order.
    twins = [fixed_supports(bank, index, 3, ItemRng(0, 0, index)) for index in (0, 1)]
    assert paths(twins[0].support) == paths(twins[1].support)
    assert twins[0].meta['support_key'] == twins[1].meta['support_key']


def test_isekai_names(world):
    bank = IsekaiBank(world.isekai, world.folder)
    file = ['zorp0', 'Plain 1']
    labels = {
        names: fixed_supports(bank, 0, 1, ItemRng(0), names=names).meta['labels']
        for names in ('real', 'mixed', 'invented')
    }
    assert labels['real'] == file
    assert labels['mixed'][0] != file[0]
    assert labels['mixed'][1] == file[1]
    assert not set(labels['invented']) & set(file)
    for names in labels:
        episode = fixed_supports(bank, 1, 2, ItemRng(0, 0, 1), names=names)
        of_class = {world.class_of(item): label_in(item) for item in episode.support}
        assert label_in(episode.query) == of_class[1]


def test_isekai_never_shows_the_query(world, tmp_path):
    row = world.isekai_row(0)
    row['positive_list'] = [row['image_name'], *row['positive_list']]
    world.write(tmp_path / 'one.jsonl', [row])
    bank = IsekaiBank(str(tmp_path / 'one.jsonl'), world.folder)
    episode = fixed_supports(bank, 0, 4, ItemRng(0))
    assert row['image_name'] not in paths(episode.support)
    with pytest.raises(ValueError, match='4 supports beside the query, and shot is 5'):
        fixed_supports(bank, 0, 5, ItemRng(0))


def test_policies_are_registered():
    assert POLICIES.get('link_context') is link_context
    assert POLICIES.get('fixed_supports') is fixed_supports


SHORT = {'support_question': 'See <image>', 'support_answer': '= <label>', 'answer': '<label>'}


def test_texts_take_the_place_of_the_published_ones(bank):
    rng = ItemRng(0, 0, 0)
    published = link_context(bank, 0, 2, rng, names='invented')
    short = link_context(bank, 0, 2, rng, names='invented', query_questions=['<image>?'], texts=SHORT)
    assert [item['meta'] for item in short.items] == [item['meta'] for item in published.items]
    for item in short.support:
        assert [turn['value'] for turn in item['conversations']] == ['See <image>', f'= {item["meta"]["label"]}']
    assert [turn['value'] for turn in short.query['conversations']] == ['<image>?', short.meta['label']]
    assert short.meta['candidates'] == short.meta['labels']


def test_texts_change_the_questions_of_fixed_supports_too(world):
    episode = fixed_supports(IsekaiBank(world.isekai, world.folder), 0, 1, ItemRng(0, 0, 0), texts=SHORT)
    assert episode.support[0]['conversations'][0]['value'] == 'See <image>'
    assert episode.meta['candidates'] == episode.meta['labels']


def test_wrong_texts_are_named(bank):
    with pytest.raises(ValueError, match=r"texts\.answr: there is no such text; did you mean 'answer'"):
        link_context(bank, 0, 1, ItemRng(0, 0, 0), texts={'answr': '<label>'})
    wrong = {'support_question': 'no picture', 'answer': '<label> or <label>'}
    with pytest.raises(ValueError, match=r"texts\.support_question='no picture' needs <image>.*texts\.answer="):
        link_context(bank, 0, 1, ItemRng(0, 0, 0), texts=wrong)
