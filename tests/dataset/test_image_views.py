"""Views that look at images: turns on one image joined, and images taken away."""

from typing import Any

import pytest
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.dataset.image_views import BlankImages, JoinTurns, join_items
from mllm.dataset.source import ItemSource
from mllm.registry import DATASETS
from mllm.types import BOXES_PLACEHOLDER, Episode, Preprocessor, RawItem, images_of
from mllm.utils.rng import ItemRng


class Pages(ItemSource):
    """Item n asks about a box on the image that its key names; None: an item without image."""

    def __init__(self, keys: list[str | None], question: str = f'<image> What is at {BOXES_PLACEHOLDER}?') -> None:
        self.keys = keys
        self.question = question

    def __len__(self) -> int:
        return len(self.keys)

    def image_key(self, index: int) -> str | None:
        return self.keys[index]

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        answer: Any = {'from': 'gpt', 'value': f'answer {index}'}
        if self.keys[index] is None:
            return {'conversations': [{'from': 'human', 'value': 'What?'}, answer]}
        question: Any = {'from': 'human', 'value': self.question, 'boxes_seq': [[0]]}
        return {
            'image': Image.new('RGB', (20, 10), (200, 30, 30)),
            'target': {'boxes': [[index, 0, index + 5, 5]], 'points': [[index, 1]]},
            'conversations': [question, answer],
            'meta': {'drawn': float(rng('template').random())},
        }


def boxes_asked(item: RawItem) -> list[Any]:
    target: Any = item['target']
    return [target['boxes'][turn['boxes_seq'][0][0]] for turn in item['conversations'] if turn['from'] == 'human']


def test_items_on_one_image_become_turns_that_keep_their_boxes():
    view = JoinTurns(Pages(['a', 'b', 'a', 'a']), turns=4)
    assert len(view) == 2
    item = view.episode(0, ItemRng(0)).query
    answers = [turn['value'] for turn in item['conversations'] if turn['from'] == 'gpt']
    assert sorted(answers) == ['answer 0', 'answer 2', 'answer 3']
    assert boxes_asked(item) == [[int(text[-1]), 0, int(text[-1]) + 5, 5] for text in answers]
    questions = [turn['value'] for turn in item['conversations'] if turn['from'] == 'human']
    assert questions == ['<image> What is at <boxes>?'] + ['What is at <boxes>?'] * 2
    assert len(images_of(item)) == 1


def test_at_most_so_many_turns_others_in_another_epoch():
    view = JoinTurns(Pages(['a'] * 9), turns=2)
    drawn = [view.episode(0, ItemRng(0, epoch)).query['conversations'] for epoch in range(20)]
    assert {len(turns) for turns in drawn} == {4}
    assert len({turns[1]['value'] for turns in drawn}) > 4
    assert view.answer(0) == drawn[0][-1]['value']
    assert drawn[0] == view.episode(0, ItemRng(0, 0)).query['conversations']


def test_turns_draw_apart():
    item = JoinTurns(Pages(['a', 'a']), turns=2).episode(0, ItemRng(0)).query
    alone = Pages(['a', 'a']).get_item(0, ItemRng(0))
    assert item['meta']['drawn'] != alone['meta']['drawn']


def test_items_without_image_stand_alone():
    view = JoinTurns(Pages([None, 'a', None, 'a']), turns=3)
    assert [view.describe(n) for n in range(3)] == ['Pages[0]', 'Pages[1]', 'Pages[2]']
    assert [len(view.episode(n, ItemRng(0)).query['conversations']) for n in range(3)] == [2, 4, 2]


def test_a_question_around_its_image_cannot_come_later():
    view = JoinTurns(Pages(['a', 'a'], question='In <image> what is at <boxes>?'), turns=2)
    with pytest.raises(ValueError, match=r'words on both sides of <image>; a question that may come later'):
        view.episode(0, ItemRng(0))


def test_several_images_and_supports_are_refused():
    item = Pages(['a']).get_item(0, ItemRng(0))
    several: Any = {**item, 'image': [item['image']], 'target': [item['target']]}
    with pytest.raises(ValueError, match='several images'):
        join_items([several, several])

    class Few(Pages):
        def episode(self, index: int, rng: ItemRng) -> Episode:
            return Episode(self.get_item(index, rng), support=(self.get_item(0, rng),))

    with pytest.raises(ValueError, match='items have supports'):
        JoinTurns(Few(['a', 'a']), turns=2).episode(0, ItemRng(0))


@pytest.mark.parametrize('turns', [0, -1])
def test_a_number_of_turns(turns: int):
    with pytest.raises(ValueError, match=f'turns={turns}, expected 1 or more'):
        JoinTurns(Pages(['a']), turns=turns)


def test_all_answers_of_a_joined_item_are_learnt(preprocessor: Preprocessor):
    episode = JoinTurns(Pages(['a', 'a', 'a']), turns=3).episode(0, ItemRng(0))
    sample = EpisodeEncoder(preprocessor, training=True)(episode, 0)
    learnt = [label for label in sample.labels if label >= 0]
    text = preprocessor.tokenizer.decode(learnt)
    assert all(f'answer {n}' in text for n in range(3))


def test_blank_images_leave_everything_else():
    pages = Pages(['a', 'b', None])
    view = BlankImages(pages)
    assert len(view) == 3
    for index in range(3):
        plain, blank = (source.episode(index, ItemRng(0, 0, index)).query for source in (pages, view))
        assert {key: value for key, value in blank.items() if key != 'image'} == {
            key: value for key, value in plain.items() if key != 'image'
        }
        assert [image.getcolors() for image in images_of(blank)] == [[(200, (255, 255, 255))]] * len(images_of(plain))
        assert view.describe(index) == pages.describe(index)
        assert view.image_key(index) == pages.image_key(index)


def test_both_are_registered():
    assert {'JoinTurns', 'BlankImages'} <= set(DATASETS.names())
