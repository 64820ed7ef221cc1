import hashlib
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mllm.dataset.source import ImageFile, Source
from mllm.dataset.views import ConcatDataset, ConcatDatasetWithShuffle, InterleaveDataset, SubSet
from mllm.registry import DATASETS
from mllm.types import Episode, RawItem
from mllm.utils.rng import ItemRng


class Numbers(Source):
    """Episodes that say which number they are and which rng they were drawn with; one support each."""

    def __init__(self, length: int, first: int = 0, name: str = 'numbers', problem: str = '') -> None:
        self.length, self.first, self.name, self.problem = length, first, name, problem

    def __len__(self) -> int:
        return self.length

    def episode(self, index: int, rng: ItemRng) -> Episode:
        assert 0 <= index < self.length
        item = RawItem(conversations=[], meta={'number': self.first + index, 'rng': rng})
        return Episode(item, (RawItem(conversations=[]),))

    def describe(self, index: int) -> str:
        return f'{self.name}.jsonl:{index + 1}'

    def problems(self) -> Iterator[str]:
        if self.problem:
            yield self.problem

    def images(self) -> Iterator[ImageFile]:
        yield ImageFile(f'{self.name}.png', None, self.describe(0))

    def most_shots(self) -> int | None:
        return self.length or None


def sources(lengths: Sequence[int]) -> list[Source]:
    """Sources of these lengths, numbered on through all of them."""
    starts = np.cumsum([0, *lengths]).tolist()
    return [Numbers(length, start, f'file{number}') for number, (length, start) in enumerate(zip(lengths, starts))]


def numbers(view: Source) -> list[int]:
    return [view.episode(index, ItemRng(0, 0, index)).query['meta']['number'] for index in range(len(view))]


# Index sequences of the original classes (Hugging Face datasets' interleaving, numpy's shuffle).
@pytest.mark.parametrize(
    ('lengths', 'probabilities', 'seed', 'strategy', 'expected'),
    [
        ([5, 3], None, 42, 'first_exhausted', [0, 5, 1, 6, 2, 7]),
        ([5, 3], None, 42, 'all_exhausted', [0, 5, 1, 6, 2, 7, 3, 5, 4, 6]),
        ([10, 0], None, 42, 'first_exhausted', []),
        (
            [10, 10],
            [0.5, 0.5],
            42,
            'first_exhausted',
            [10, 0, 11, 12, 1, 13, 14, 15, 2, 3, 4, 16, 17, 18, 5, 6, 19],
        ),
        (
            [10, 10],
            [0.5, 0.5],
            42,
            'all_exhausted',
            [10, 0, 11, 12, 1, 13, 14, 15, 2, 3, 4, 16, 17, 18, 5, 6, 19, 7, 10, 11, 12, 8, 13, 14, 15, 9],
        ),
        ([10, 200], [0.9, 0.1], 42, 'first_exhausted', [0, 1, 2, 3, 4, 10, 5, 6, 7, 8, 9]),
        ([5, 5], [1 / 3, 2 / 3], 123, 'first_exhausted', [5, 0, 1, 2, 3, 6, 7, 4]),
        ([7], [1.0], 0, 'all_exhausted', [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_interleaving_as_published(lengths, probabilities, seed, strategy, expected):
    assert numbers(InterleaveDataset(sources(lengths), probabilities, seed, strategy)) == expected


@pytest.mark.parametrize(
    ('lengths', 'probabilities', 'seed', 'strategy', 'length', 'start', 'end', 'sha256'),
    [
        (
            [2000, 3000],
            [0.3, 0.7],
            42,
            'first_exhausted',
            4316,
            [2000, 2001, 2002, 2003, 0, 2004, 2005, 2006, 1, 2007],
            None,
            'c41b81c945ee20df6d86397bb25dcee081c2d9e644aac9b4a11db13c8935b546',
        ),
        (
            [900, 100],
            [0.5, 0.5],
            0,
            'all_exhausted',
            1819,
            [900, 0, 1, 2, 901, 902, 903, 904, 905, 906],
            [893, 894, 917, 895, 918, 896, 897, 898, 899],
            '02c5162c6599ddd4d5ca1c059ba84bc077e722bc5cecd0d0ff69804595d40a2b',
        ),
    ],
)
def test_interleaving_over_several_blocks(lengths, probabilities, seed, strategy, length, start, end, sha256):
    found = numbers(InterleaveDataset(sources(lengths), probabilities, seed, strategy))
    assert len(found) == length
    assert found[: len(start)] == start
    assert end is None or found[-len(end) :] == end
    assert hashlib.sha256(','.join(map(str, found)).encode()).hexdigest() == sha256


@pytest.mark.parametrize(
    ('length', 'portion', 'do_shuffle', 'seed', 'expected'),
    [
        (7, 0.5, True, 42, [3, 2, 6]),
        (7, 1 / 3, True, 42, [3, 2]),
        (7, 1 / 3, False, 42, [0, 1]),
        (10, 0.5, True, 1, [8, 4, 7, 0, 1]),
        (1, 0.5, True, 42, []),
        (3, 1.0, False, 42, [0, 1, 2]),
    ],
)
def test_subsets_as_published(length: int, portion: float, do_shuffle: bool, seed: int, expected: list[int]):
    assert numbers(SubSet(Numbers(length), portion, do_shuffle, seed)) == expected


@pytest.mark.parametrize(
    ('lengths', 'seed', 'portion', 'expected'),
    [
        ([5], 42, 1, [4, 2, 3, 1, 0]),
        ([5], 1, 3, [1, 2, 2, 0, 4, 4, 0, 3, 0, 4, 2, 3, 1, 1, 3]),
        ([3, 4], 44, 1 / 3, [3, 0]),
        ([3, 4], 42, 2, [6, 0, 2, 3, 0, 4, 6, 3, 5, 2, 4, 5, 1, 1]),
        ([3, 4], 9, 1.999, [2, 0, 2, 6, 3, 5, 4, 3, 5, 6, 1, 4, 0]),
    ],
)
def test_shuffled_concatenation_as_published(lengths: list[int], seed: int, portion: float, expected: list[int]):
    assert numbers(ConcatDatasetWithShuffle(sources(lengths), seed, portion)) == expected


def test_concatenation_passes_over_empty_sources():
    view = ConcatDataset(sources([1, 0, 4, 0]))
    assert numbers(view) == [0, 1, 2, 3, 4]
    assert view[-1]['meta']['number'] == 4
    with pytest.raises(IndexError, match='index 5 is outside ConcatDataset with 5 items'):
        view[5]


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(lengths, st.lists(st.integers(1, 9), min_size=5, max_size=5), st.integers(0, 1000), st.booleans())
def test_interleaving_walks_every_source_in_order(lengths: list[int], weights: list[int], seed: int, to_the_last: bool):
    weights = weights[: len(lengths)]
    probabilities = [weight / sum(weights) for weight in weights]
    strategy = 'all_exhausted' if to_the_last else 'first_exhausted'
    found = numbers(InterleaveDataset(sources(lengths), probabilities, seed, strategy))
    starts = np.cumsum([0, *lengths])
    ended = []
    for start, length in zip(starts, lengths):
        own = [number - start for number in found if start <= number < start + length]
        assert own == [position % length for position in range(len(own))]
        ended.append(len(own) >= length)
    assert all(ended) if to_the_last else ended.count(True) == 1
    # It stops with the item that ends the last (or first) source: without it the rule would not hold yet.
    last = int(np.searchsorted(starts, found[-1], side='right')) - 1
    assert found[-1] - starts[last] == lengths[last] - 1


@settings(max_examples=30)
@given(lengths, st.floats(0.01, 3), st.integers(0, 1000))
def test_a_shuffle_repeats_evenly(lengths: list[int], portion: float, seed: int):
    found = Counter(numbers(ConcatDatasetWithShuffle(sources(lengths), seed, portion)))
    assert sum(found.values()) == int(sum(lengths) * portion)
    assert max(found.values(), default=0) <= np.ceil(portion)


def test_views_nest_and_hand_the_rng_on():
    inner = InterleaveDataset([SubSet(Numbers(4), 0.5, do_shuffle=False), ConcatDataset(sources([1, 2]))])
    view = ConcatDataset([Numbers(2, 100), inner])
    assert numbers(view) == [100, 101, 0, 0, 1, 1]
    rng = ItemRng(5, 6, 7)
    episode = view.episode(3, rng)
    assert episode.query['meta'] == {'number': 0, 'rng': rng}
    assert episode.query['meta']['rng'] is rng
    assert len(episode.support) == 1


def test_an_item_says_where_it_really_comes_from():
    view = SubSet(ConcatDataset(sources([3, 4])), 1.0, do_shuffle=False)
    assert [view.describe(index) for index in (0, 2, 3, 6)] == [
        'file0.jsonl:1',
        'file0.jsonl:3',
        'file1.jsonl:1',
        'file1.jsonl:4',
    ]


def test_problems_of_all_sources_are_reported():
    view = ConcatDataset([Numbers(1, problem='a is missing'), ConcatDataset([Numbers(1, problem='b is missing')])])
    assert list(view.problems()) == ['a is missing', 'b is missing']


def test_a_probe_of_every_source_in_a_view():
    nested = ConcatDataset([*sources([3, 2]), ConcatDataset(sources([2, 2])), Numbers(0)])
    assert nested.probes() == [0, 3, 5, 7]
    part = SubSet(nested, 0.5, seed=3)
    # Of each source that is in the part, its first one or else any.
    shown = {nested.locate(int(part.indices[index]))[0] for index in part.probes()}
    assert shown == {nested.locate(int(position))[0] for position in part.indices}


def test_the_same_everywhere():
    """On every rank and worker: the indices depend on the arguments alone, and travel with the view."""
    np.random.seed(1)
    first = InterleaveDataset(sources([30, 40]), [0.4, 0.6], 7)
    np.random.seed(2)
    again = InterleaveDataset(sources([30, 40]), [0.4, 0.6], 7)
    assert numbers(first) == numbers(again) == numbers(pickle.loads(pickle.dumps(first)))
    assert numbers(InterleaveDataset(sources([30, 40]), [0.4, 0.6], 8)) != numbers(first)


@pytest.fixture
def numbers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS._entries, 'Numbers', Numbers)


@pytest.mark.parametrize('name', ['InterleaveDataset', 'InterleaveDateset'])
def test_from_a_config_under_both_spellings(numbers_by_name: None, name: str):
    part = {'type': 'SubSet', 'cfg': {'type': 'Numbers', 'length': 10}, 'portion': 0.2, 'do_shuffle': False}
    view = DATASETS.build({'type': name, 'cfgs': [part, {'type': 'Numbers', 'length': 3, 'first': 50}]})
    assert numbers(view) == [0, 50, 1, 51]


def test_all_datasets_that_cannot_be_built_are_named(numbers_by_name: None):
    cfgs = [{'type': 'Number'}, Numbers(1), {'type': 'SubSet', 'cfg': Numbers(3), 'portion': 3}]
    with pytest.raises(ValueError) as error:
        ConcatDataset(cfgs)
    first, second = str(error.value).splitlines()
    assert first == "ConcatDataset: dataset 0: DATASETS: there is no 'Number'; did you mean 'Numbers'?"
    assert second == 'ConcatDataset: dataset 2: SubSet: portion=3, expected more than 0 and at most 1'


@pytest.mark.parametrize('view', [ConcatDataset, ConcatDatasetWithShuffle, InterleaveDataset])
def test_a_view_of_nothing(view: type):
    with pytest.raises(ValueError, match=f'{view.__name__}: there is no dataset in it'):
        view([])


@pytest.mark.parametrize('seed', [None, 'x', 1.5, True, -1])
def test_a_seed_that_differs_between_ranks_is_refused(seed: object):
    message = r'seed=.*: expected a number from 0 on; without one every rank would draw other indices'
    with pytest.raises(ValueError, match=message):
        InterleaveDataset(sources([3, 3]), seed=seed)
    with pytest.raises(ValueError, match=message):
        SubSet(Numbers(3), 0.5, seed=seed)
    with pytest.raises(ValueError, match=message):
        ConcatDatasetWithShuffle(sources([3, 3]), seed=seed)


@pytest.mark.parametrize(
    ('probabilities', 'strategy', 'message'),
    [
        ([0.5], 'first_exhausted', '1 probabilities for 2 datasets; probabilities add up to 0.5, expected 1'),
        ([0.6, 0.5], 'first_exhausted', 'probabilities add up to 1.1, expected 1'),
        ([0.333, 0.666], 'first_exhausted', 'add up to 0.999, expected 1'),
        ([float('nan'), 1.0], 'first_exhausted', 'add up to nan, expected 1'),
        ([1.5, -0.5], 'first_exhausted', 'must not be negative'),
        ([1.0, 0.0], 'all_exhausted', "a probability of 0 is never exhausted; use stopping_strategy='first_exhausted'"),
        ([0.5, 0.5], 'nonsense', "stopping_strategy='nonsense', expected one of .*'first_exhausted', 'all_exhausted'"),
    ],
)
def test_nonsense_mixtures(probabilities: list[float], strategy: str, message: str):
    with pytest.raises(ValueError, match=f'InterleaveDataset: .*{message}'):
        InterleaveDataset(sources([3, 3]), probabilities, 0, strategy)


def test_a_probability_of_zero_leaves_a_source_out():
    assert set(numbers(InterleaveDataset(sources([20, 3, 20]), [0.5, 0.0, 0.5]))) <= {*range(20), *range(23, 43)}


@pytest.mark.parametrize(('probabilities', 'strategy'), [([0.5, 0.5], 'first_exhausted'), (None, 'all_exhausted')])
def test_an_empty_source_cannot_be_mixed_in(probabilities: list[float] | None, strategy: str):
    with pytest.raises(ValueError, match='InterleaveDataset: dataset 1 is empty'):
        InterleaveDataset(sources([3, 0]), probabilities, 0, strategy)


@pytest.mark.parametrize('portion', [0, -0.1, 1.5, float('nan')])
def test_nonsense_portions(portion: float):
    with pytest.raises(ValueError, match=f'SubSet: portion={portion}, expected more than 0 and at most 1'):
        SubSet(Numbers(3), portion)
    if not portion > 0:
        with pytest.raises(ValueError, match=f'ConcatDatasetWithShuffle: portion={portion}, expected more than 0'):
            ConcatDatasetWithShuffle([Numbers(3)], portion=portion)


def test_images_and_shots_are_those_of_all_sources():
    view = ConcatDataset([SubSet(ConcatDataset(sources([5, 3])), 0.5), Numbers(0, name='empty')])
    assert [image.path for image in view.images()] == ['file0.png', 'file1.png', 'empty.png']
    assert view.most_shots() == 3
    assert ConcatDataset([Numbers(0)]).most_shots() is None
