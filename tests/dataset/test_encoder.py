"""The encoder: boxes into text, episodes into one sequence, supports dropped whole."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.dataset.single_image_dataset.rec import RECDataset
from mllm.metric.grounding import to_pixels
from mllm.types import IGNORE_INDEX, Episode, Preprocessor, RawItem, Turn
from tests.dataset.conftest import TOKENS_PER_IMAGE


def text_of(ids: list[int], preprocessor: Preprocessor) -> str:
    return preprocessor.tokenizer.decode(ids)


def test_the_public_example_with_four_boxes_and_two_points(preprocessor: Preprocessor):
    """The contract's example: an image of 1000x800, so 100 white rows stand above it after the letterbox."""
    item = RawItem(
        image=Image.new('RGB', (1000, 800)),
        target={
            'boxes': [[10, 10, 256, 265], [24, 18, 378, 768], [100, 310, 670, 653], [278, 320, 809, 673]],
            'points': [[100, 100], [200, 200]],
        },
        conversations=[
            Turn(
                {
                    'from': 'human',
                    'value': 'How do the dogs <boxes> relate to the man <boxes> in <image>? See <points>.',
                    'boxes_seq': [[0, 1], [2]],
                    'points_seq': [[0, 1]],
                }
            ),
            Turn(
                {
                    'from': 'gpt',
                    'value': 'A rope <boxes> joins the left dog <boxes> and the man <boxes>, from <points>.',
                    'boxes_seq': [[3], [0], [2]],
                    'points_seq': [[1]],
                }
            ),
        ],
    )
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(item), 0)
    text = text_of(sample.input_ids, preprocessor)
    assert (
        'How do the dogs [0.010,0.110,0.256,0.365;0.024,0.118,0.378,0.868] relate to the man [0.100,0.410,0.670,0.753] '
        'in <image><image><image>? See [0.100,0.200;0.200,0.300].'
    ) in text
    learnt = text_of([label for label in sample.labels if label != IGNORE_INDEX], preprocessor)
    assert learnt.strip() == (
        'A rope [0.278,0.420,0.809,0.773] joins the left dog [0.010,0.110,0.256,0.365] and the man '
        '[0.100,0.410,0.670,0.753], from [0.200,0.300].</s>'
    )
    assert sample.images.tolist()[0][:2] == [1000, 1000]


def test_all_images_of_an_episode_arrive_in_order(preprocessor: Preprocessor, make_item: Callable[..., RawItem]):
    episode = Episode(make_item('ab', (0, 0, 3)), (make_item('ab', (0, 0, 1)), make_item('cd', (0, 0, 2))))
    sample = EpisodeEncoder(preprocessor, training=True)(episode, 0)
    assert sample.images[:, -1].tolist() == [1, 2, 3]
    assert sample.input_ids.count(preprocessor.image_token_id) == 3 * TOKENS_PER_IMAGE


def test_only_the_query_is_learnt_unless_a_turn_says_so(preprocessor: Preprocessor, make_item: Callable[..., RawItem]):
    support = make_item('cd')
    support['conversations'][1]['supervised'] = True
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(make_item('ab'), (make_item('ab'), support)), 0)
    learnt = text_of([label for label in sample.labels if label != IGNORE_INDEX], preprocessor)
    assert learnt.count('"cd"') == 1
    assert learnt.count('"ab"') == 1
    assert learnt.endswith('</s>')


def test_evaluation_is_the_prompt_with_its_answers_apart(preprocessor: Preprocessor, make_item: Callable[..., RawItem]):
    candidates = ['there is "ab" in the image.', 'there is "cd" in the image.']
    episode = Episode(make_item('ab', candidates=candidates), (make_item('ab'), make_item('cd')))
    prompt = EpisodeEncoder(preprocessor, training=False)(episode, 7)
    trained = EpisodeEncoder(preprocessor, training=True)(episode, 7)
    assert text_of(prompt.input_ids, preprocessor).endswith('ASSISTANT:')
    assert prompt.target == candidates[0]
    assert list(prompt.answers) == candidates
    assert prompt.input_ids + prompt.answers[candidates[0]] == trained.input_ids
    assert prompt.index == 7


def test_images_are_augmented_in_training_alone(preprocessor: Preprocessor, make_item: Callable[..., RawItem]):
    def augment(image, target, rng):
        return image.resize((16, 16)), target

    for training, side in ((True, 16), (False, 8)):
        sample = EpisodeEncoder(preprocessor, training, augment)(Episode(make_item('ab'), (make_item('cd'),)), 0)
        assert sample.images[:, 0].tolist() == [side, side]


def test_supports_are_dropped_whole_from_the_front(
    make_preprocessor: Callable[..., Preprocessor], make_item: Callable[..., RawItem]
):
    episode = Episode(make_item('q'), tuple(make_item(f's{number}') for number in range(4)))
    full = EpisodeEncoder(make_preprocessor(), training=True)(episode, 0)
    cut = EpisodeEncoder(make_preprocessor(len(full.input_ids) - 1), training=True)(episode, 0)
    text = text_of(cut.input_ids, make_preprocessor())
    assert cut.meta['dropped_supports'] == 1
    assert len(cut.images) == 4
    assert '"s0"' not in text
    assert all(f'"s{number}"' in text for number in (1, 2, 3))
    assert text.count('causal relationship') == 1


def test_an_indivisible_episode_that_does_not_fit_is_an_error(
    make_preprocessor: Callable[..., Preprocessor], make_item: Callable[..., RawItem]
):
    episode = Episode(make_item('q'), tuple(make_item(f's{number}') for number in range(4)), indivisible=True)
    full = EpisodeEncoder(make_preprocessor(), training=True)(episode, 0)
    encode = EpisodeEncoder(make_preprocessor(len(full.input_ids) - 1), training=True)
    with pytest.raises(ValueError, match='only 3 of 4 supports fit, and the answer is about all of them'):
        encode(episode, 0)


def test_a_query_that_cannot_fit_is_an_error(
    make_preprocessor: Callable[..., Preprocessor], make_item: Callable[..., RawItem]
):
    with pytest.raises(ValueError, match=r'alone have \d+ tokens with 1 images, more than the 5'):
        EpisodeEncoder(make_preprocessor(5), training=True)(Episode(make_item('q'), (make_item('s'),)), 0)


def test_a_box_that_sticks_out_is_clipped_and_counted(preprocessor: Preprocessor, make_item: Callable[..., RawItem]):
    item = RawItem({**make_item('ab'), 'target': {'boxes': [[-2, 0, 4, 9]]}})
    item['conversations'][1].update({'value': 'here <boxes>', 'boxes_seq': [[0]]})
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(item), 0)
    assert sample.meta['clipped'] == 1
    assert '[0.000,0.000,0.500,1.000]' in text_of(sample.input_ids, preprocessor)


def test_an_item_without_image(preprocessor: Preprocessor):
    turns = [Turn({'from': 'human', 'value': 'Hi'}), Turn({'from': 'gpt', 'value': 'Hello'})]
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(RawItem(conversations=turns)), 0)
    assert sample.images is None


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'conversations': []}, 'alternate'),
        ({'image': None}, '0 images has 1 <image> placeholders'),
        ({'target': {'boxes': [[4, 4, 2, 6]]}}, r'4.*4.*2.*6'),
        ({'target': {'boxes': [[20, 20, 30, 30]]}}, '20.*8'),
    ],
)
def test_broken_items_are_named(
    preprocessor: Preprocessor, make_item: Callable[..., RawItem], change: dict, message: str
):
    item = RawItem({**make_item('ab'), **change})
    with pytest.raises(ValueError, match=message):
        EpisodeEncoder(preprocessor, training=True)(Episode(item), 0)


def test_a_sample_in_which_nothing_is_learnt_is_an_error(preprocessor: Preprocessor, make_item: Callable[..., RawItem]):
    item = make_item('ab')
    item['conversations'][1]['supervised'] = False
    with pytest.raises(ValueError, match='no token of this sample is learnt'):
        EpisodeEncoder(preprocessor, training=True)(Episode(item), 0)


def ask(question: str, answer: str, **more) -> list[Turn]:
    return [Turn({'from': 'human', 'value': question}), Turn({'from': 'gpt', 'value': answer, **more})]


@given(st.integers(8, 60), st.integers(8, 60), st.lists(st.floats(0, 0.9), min_size=4, max_size=4))
def test_places_in_text_are_mapped_back_to_pixels_by_the_frame(
    preprocessor: Preprocessor, width: int, height: int, unit: list[float]
):
    (x0, x1), (y0, y1) = sorted(unit[:2]), sorted(unit[2:])
    box = [x0 * width, y0 * height, max(x1 * width, x0 * width + 0.5), max(y1 * height, y0 * height + 0.5)]
    item = RawItem(
        image=Image.new('RGB', (width, height)),
        target={'boxes': [box], 'points': [[1, 2]]},
        conversations=ask('Where in <image>?', '<boxes> <points>', boxes_seq=[[0]], points_seq=[[0]]),
    )
    sample = EpisodeEncoder(preprocessor, training=False)(Episode(item), 0)
    clipped = [*box[:2], min(box[2], width), min(box[3], height)]
    assert sample.meta['answer_boxes'] == [[pytest.approx(clipped)]]
    assert sample.meta['answer_points'] == [[[1, 2]]]
    assert sample.meta['image_size'] == [width, height]
    left, top, right, bottom = sample.meta['frame']
    (written,) = preprocessor.formatter.extract_boxes(sample.target)[0]
    scale = [right - left, bottom - top] * 2
    back = [value * size + start for value, size, start in zip(written, scale, [left, top] * 2, strict=True)]
    assert back == pytest.approx(clipped, abs=max(width, height) / 1000)


def test_training_samples_carry_no_places(preprocessor: Preprocessor):
    item = RawItem(
        image=Image.new('RGB', (9, 5)),
        target={'boxes': [[1, 1, 2, 2]]},
        conversations=ask('Where in <image>?', '<boxes>', boxes_seq=[[0]]),
    )
    assert EpisodeEncoder(preprocessor, training=True)(Episode(item), 0).meta == {}


def test_an_item_with_several_images(preprocessor: Preprocessor):
    item = RawItem(
        image=[Image.new('RGB', (10, 10), (1, 0, 0)), Image.new('RGB', (20, 10), (2, 0, 0))],
        target=[{'boxes': [[0, 0, 5, 5], [5, 5, 10, 10]]}, {'boxes': [[0, 0, 20, 10]], 'points': [[10, 5]]}],
        conversations=ask(
            'Is <image> in <image>?', 'No: <boxes> at <points>', boxes_seq=[[(0, 1), (1, 0)]], points_seq=[[(1, 0)]]
        ),
    )
    sample = EpisodeEncoder(preprocessor, training=False)(Episode(item), 0)
    assert sample.target == 'No: [0.500,0.500,1.000,1.000;0.000,0.250,1.000,0.750] at [0.500,0.500]'
    assert sample.input_ids.count(preprocessor.image_token_id) == 2 * TOKENS_PER_IMAGE
    assert [entry[:3] for entry in sample.images.tolist()] == [[10, 10, 1], [20, 20, 111]]
    assert 'frame' not in sample.meta


@pytest.mark.parametrize('wrong', [0, (0, 2), (2, 0), (-1, 0), (0,)])
def test_places_of_several_images_are_pairs(preprocessor: Preprocessor, wrong):
    item = RawItem(
        image=[Image.new('RGB', (10, 10))] * 2,
        target=[{'boxes': [[0, 0, 5, 5], [5, 5, 10, 10]]}, None],
        conversations=ask('Is <image> in <image>?', '<boxes>', boxes_seq=[[wrong]]),
    )
    with pytest.raises(ValueError, match='is a pair'):
        EpisodeEncoder(preprocessor, training=False)(Episode(item), 0)


def test_supports_with_several_images_are_dropped_whole(preprocessor: Preprocessor):
    two = RawItem(image=[Image.new('RGB', (10, 10), (7, 0, 0))] * 2, conversations=ask('<image> <image>?', 'yes'))
    one = RawItem(image=Image.new('RGB', (10, 10), (3, 0, 0)), conversations=ask('<image>?', 'no'))
    whole = EpisodeEncoder(preprocessor, training=True)(Episode(one, (two, one)), 0)
    assert [entry[2] for entry in whole.images.tolist()] == [7, 7, 3, 3]
    short = replace(preprocessor, max_length=len(whole.input_ids) - 1)
    sample = EpisodeEncoder(short, training=True)(Episode(one, (two, one)), 0)
    assert sample.meta['dropped_supports'] == 1
    assert [entry[2] for entry in sample.images.tolist()] == [3, 3]


@pytest.mark.parametrize('size', [(640, 480), (641, 427), (333, 1000)])
def test_places_do_not_depend_on_the_scale_of_decoding(
    preprocessor: Preprocessor, tmp_path: Path, size: tuple[int, int]
):
    Image.effect_noise(size, 60).convert('RGB').save(tmp_path / 'a.jpg')
    row = {'img_path': 'a.jpg', 'expression': 'x', 'bbox': [size[0] / 5, size[1] / 4, size[0] * 0.8, size[1] + 3]}
    (tmp_path / 'rows.jsonl').write_text(json.dumps(row))
    source = RECDataset(str(tmp_path / 'rows.jsonl'), str(tmp_path), template_string='<expr> <image>')
    samples = [
        SingleImageConvDataset(source, preprocessor, training=False, decode_side=side).encode(0, 0)
        for side in (None, 150)
    ]
    whole, reduced = (sample.meta for sample in samples)
    assert reduced['image_size'] == whole['image_size'] == list(size)
    assert reduced['answer_boxes'] == whole['answer_boxes']
    assert reduced['clipped'] == whole['clipped'] == 1
    # The padding of an odd number of pixels may differ by one of the reduced image.
    assert reduced['frame'] == pytest.approx(whole['frame'], abs=max(size) / 100)
    for sample in samples:
        (box,) = preprocessor.formatter.extract_boxes(sample.target)[0]
        assert to_pixels([box], sample.meta)[0] == pytest.approx(
            sample.meta['answer_boxes'][0][0], abs=max(size) / 1000
        )
    assert max(samples[1].images.tolist()[0][:2]) < max(size)
