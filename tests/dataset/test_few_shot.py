"""FewShot: what supports may be shown, how they are chosen, and that nothing but (seed, epoch, index) decides."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.dataset.few_shot import FewShot, drawn_order
from mllm.dataset.image_features import FeatureConfig, image_features
from mllm.dataset.single_image_dataset.rec import RECDataset
from mllm.dataset.source import ItemSource
from mllm.dataset.views import ConcatDataset
from mllm.registry import DATASETS
from mllm.types import Preprocessor, RawItem
from mllm.utils.rng import ItemRng

TOWER = str(Path(__file__).parents[2] / 'data' / 'tiny_llava' / 'vision')


class Shades(ItemSource):
    """Item n: an image of the n-th shade (or none), answered by the n-th answer."""

    def __init__(self, shades: list[int | None], answers: list[str] | None = None, name: str = '') -> None:
        self.shades = shades
        self.answers = answers or [str(shade) for shade in shades]
        self.name = name
        self.read = 0

    def __len__(self) -> int:
        return len(self.shades)

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        self.read += 1
        shade = self.shades[index]
        image = None if shade is None else Image.new('RGB', (4, 4), (shade, shade, shade))
        question = 'What?' if image is None else 'Which <image>?'
        turns: list[Any] = [{'from': 'human', 'value': question}, {'from': 'gpt', 'value': self.answers[index]}]
        return {'image': image, 'conversations': turns, 'meta': {'id': index, 'drawn': float(rng('x').random())}}

    def image_key(self, index: int) -> str | None:
        return None if self.shades[index] is None else f'{self.name}{self.shades[index]}'

    def answer(self, index: int) -> str:
        return self.answers[index]


def shown(source: FewShot, index: int, epoch: int = 0, seed: int = 0) -> list[int]:
    return [item['meta']['id'] for item in source.episode(index, ItemRng(seed, epoch, index)).support]


@given(st.integers(1, 40), st.integers(0, 5))
def test_a_drawn_order_is_a_permutation(size: int, seed: int):
    assert sorted(drawn_order(size, np.random.default_rng(seed))) == list(range(size))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.sampled_from(['random', 'fixed', 'balanced']),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_query_and_its_image_are_never_shown(shades: list[Any], select: Any, shots: int, own: bool):
    dataset = Shades(shades)
    pool = dataset if own else Shades(shades[::-1], name='elsewhere/')
    source = FewShot(dataset, None if own else pool, shots=shots, select=select)
    for index in range(len(dataset)):
        others = sum(shade != shades[index] for shade in shades)
        if others < shots:
            with pytest.raises(ValueError, match='lower shots'):
                source.episode(index, ItemRng(0, 0, index))
            continue
        found = shown(source, index)
        assert len(set(found)) == shots
        assert all(pool.shades[position] != shades[index] for position in found)


def test_items_without_image_are_told_apart_by_their_text():
    dataset = Shades([None] * 4, ['a', 'b', 'a', 'c'])
    source = FewShot(dataset, shots=2)
    assert {frozenset(shown(source, 0, epoch)) for epoch in range(20)} == {frozenset({1, 3})}


def test_random_supports_change_with_query_and_epoch_and_nothing_else():
    source = FewShot(Shades(list(range(100))), shots=3)
    assert shown(source, 5) == shown(FewShot(Shades(list(range(100))), shots=3), 5)
    assert len({tuple(shown(source, 5, epoch)) for epoch in range(10)}) == 10
    assert shown(source, 5) == shown(FewShot(Shades(list(range(100))), shots=8), 5)[:3]
    counts = Counter(position for index in range(100) for position in shown(source, index))
    assert max(counts.values()) < 15


def test_supports_have_a_randomness_of_their_own():
    source = FewShot(Shades(list(range(9))), shots=4)
    episode = source.episode(0, ItemRng(0, 0, 0))
    assert len({item['meta']['drawn'] for item in episode.items}) == 5


def test_fixed_supports_are_the_same_for_all():
    source = FewShot(Shades(list(range(20))), Shades(list(range(100, 120))), shots=4, select='fixed', seed=3)
    sets = {tuple(shown(source, index, epoch)) for index in range(20) for epoch in range(2)}
    assert len(sets) == 1
    other = FewShot(Shades(list(range(20))), Shades(list(range(100, 120))), shots=4, select='fixed', seed=4)
    assert tuple(shown(other, 0)) not in sets
    keys = {source.episode(index, ItemRng(0, 0, index)).meta['support_key'] for index in range(20)}
    assert len(keys) == 1


def test_balanced_supports_show_every_answer_as_often():
    answers = ['yes'] * 17 + ['no'] * 3
    source = FewShot(Shades([None] * 20, answers), Shades(list(range(20)), answers), shots=6, select='balanced')
    for index in range(5):
        assert Counter(answers[position] for position in shown(source, index)) == {'yes': 3, 'no': 3}
    assert Counter(answers[position] for position in shown(FewShot(source.dataset, source.pool, 4, 'balanced'), 0)) == {
        'yes': 2,
        'no': 2,
    }


def test_balanced_reads_no_image_of_the_pool_but_those_it_shows():
    pool = Shades(list(range(50)))
    FewShot(Shades([200]), pool, shots=2, select='balanced').episode(0, ItemRng(0, 0, 0))
    assert pool.read == 2


def test_similar_supports_are_the_nearest_images_the_most_similar_last(tmp_path: Path):
    pool = Shades([0, 60, 120, 180, 240])
    source = FewShot(
        Shades([110, 245]),
        pool,
        shots=2,
        select='similar',
        features={'vision_tower': TOWER, 'cache_dir': str(tmp_path)},
    )
    assert list(source.problems()) == []
    cfg = FeatureConfig(TOWER, str(tmp_path))
    vectors, queries = image_features(pool, cfg), image_features(source.dataset, cfg)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for index in range(2):
        nearest = np.argsort(-vectors @ queries[index])[:2].tolist()
        assert shown(source, index) == nearest[::-1]
    assert 2 in shown(source, 0)
    assert shown(source, 1)[-1] == 4


def test_features_are_kept_on_disk_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = FeatureConfig(TOWER, str(tmp_path))
    first = image_features(Shades([1, 2, None, 1]), cfg)
    assert np.array_equal(first[0], first[3])
    assert not first[2].any()
    assert len(list(tmp_path.rglob('*.npy'))) == 2
    monkeypatch.setattr('mllm.dataset.image_features.Tower.__call__', lambda *_: pytest.fail('computed again'))
    assert np.array_equal(image_features(Shades([2, 1], name='moved/'), cfg), first[[1, 0]])


def test_boxes_stay_tied_to_their_own_image(tmp_path: Path, preprocessor: Preprocessor):
    sizes = [(100, 50), (40, 80), (64, 64)]
    rows = []
    for number, size in enumerate(sizes):
        Image.effect_noise(size, 90).convert('RGB').save(tmp_path / f'{number}.png')
        rows.append({'img_path': f'{number}.png', 'expression': f'thing {number}', 'bbox': [0, 0, *size]})
    (tmp_path / 'rec.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    cfg = {
        'type': 'FewShot',
        'dataset': {
            'type': 'RECDataset',
            'filename': str(tmp_path / 'rec.jsonl'),
            'image_folder': str(tmp_path),
            'template_string': 'Where is <expr> in <image>?',
        },
        'shots': 2,
    }
    source = DATASETS.build(cfg)
    assert list(source.problems()) == []
    sample = EpisodeEncoder(preprocessor, training=False)(source.episode(0, ItemRng(0, 0, 0)), 0)
    text = preprocessor.tokenizer.decode(sample.input_ids)
    assert 'Answer: [0.250,0.000,0.750,1.000]' in text
    assert 'Answer: [0.000,0.000,1.000,1.000]' in text
    assert sample.target == 'Answer: [0.000,0.250,1.000,0.750] .'
    assert sample.meta['frame'] == [0, -25, 100, 75]
    assert sample.meta['shot'] == 2


def test_views_can_be_queries_and_pools():
    view = ConcatDataset([Shades([1, 2]), Shades([3, 4])])
    source = FewShot(view, ConcatDataset([Shades([1, 2]), Shades([3, 4])]), shots=3)
    assert {item['conversations'][-1]['value'] for item in source.episode(2, ItemRng(0, 0, 2)).support} == {
        '1',
        '2',
        '4',
    }
    assert source.answer(2) == '3'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'select': 'randm'}, "did you mean 'random'"),
        ({'shots': 0}, 'at least 1'),
        ({'shots': {'type': 'uniform', 'low': 3, 'high': 1}}, 'low <= high'),
        ({'seed': -1}, 'seed=-1'),
        ({'select': 'similar'}, 'needs features='),
        ({'features': {'vision_tower': 'x'}}, 'the others take none'),
        ({'select': 'similar', 'features': {'vison_tower': 'x'}}, "did you mean 'vision_tower'"),
        ({'select': 'similar', 'features': {}}, 'expected the path of a model'),
    ],
)
def test_wrong_arguments_are_told(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        FewShot(Shades([1, 2, 3]), **change)


@pytest.mark.parametrize(
    ('dataset', 'more', 'message'),
    [
        (Shades([1, 2]), {'shots': 2}, 'the pool has 2 items'),
        (
            Shades([1, 2]),
            {'shots': 1, 'select': 'similar', 'features': {'vision_tower': '/no/such/folder'}},
            'cannot be loaded',
        ),
    ],
)
def test_what_cannot_work_is_a_problem_before_the_first_sample(dataset: Any, more: dict[str, Any], message: str):
    (problem,) = FewShot(dataset, **more).problems()
    assert message in problem


def test_episodes_are_no_items():
    inner = FewShot(Shades([1, 2, 3]), shots=1)
    with pytest.raises(ValueError, match='supports already'):
        FewShot(inner, shots=1).episode(0, ItemRng(0, 0, 0))


def test_rec_rows_share_images_by_path(tmp_path: Path):
    rows = [{'img_path': './a.png', 'expression': 'x', 'bbox': [0, 0, 2, 2]}, {'img_path': 'a.png'}]
    (tmp_path / 'r.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    data = RECDataset(str(tmp_path / 'r.jsonl'), 'pictures', template_string='<expr> <image>')
    assert data.image_key(0) == data.image_key(1) == 'pictures/a.png'
    assert data.answer(0) == 'Answer: <boxes> .'
