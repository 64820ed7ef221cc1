"""Ids, masks and pixels are those that each model's own processor makes of the same conversation."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.types import IGNORE_INDEX, IMAGE_PLACEHOLDER, Episode, Preprocessor, RawItem, images_of
from tests.models.hf_vlm.conftest import item
from tests.models.hf_vlm.kinds import KINDS

EPISODES = {
    'shots': Episode(item('a cup', 1), (item('dax\n', 2), item(' two\nlines ', 3))),
    'turns': Episode(item('so', 1, more=[('And now?', 'no'), ('  Why?\n', 'because')]), (item('none'), item('bo', 4))),
    'many_images': Episode(
        item('Both. It is "dax".', 1, 2, question='<image><image>\n\nWhich?'),
        (item('a\n\nb', 3, question='\n<image>'),),
    ),
    'one_image': Episode(item('a bo', 5, question='<image>')),
    'no_image': Episode(item('yes'), (item('no'),)),
}


def conversation(items: Sequence[RawItem], answer_open: bool) -> list[dict[str, Any]]:
    """The same conversation in the form that processors take."""
    messages = []
    for entry in items:
        images = iter(images_of(entry))
        for turn in entry['conversations']:
            parts: list[dict[str, Any]] = []
            for number, text in enumerate(turn['value'].split(IMAGE_PLACEHOLDER)):
                if number:
                    parts.append({'type': 'image', 'image': next(images)})
                if text:
                    parts.append({'type': 'text', 'text': text})
            messages.append({'role': {'human': 'user', 'gpt': 'assistant'}[turn['from']], 'content': parts})
    return messages[:-1] if answer_open else messages


def by_processor(own: Any, episodes: Sequence[Episode], answer_open: bool, **arguments: Any) -> dict[str, Any]:
    """What the model's own processor makes of episodes in one batch."""
    conversations = [conversation(episode.items, answer_open) for episode in episodes]
    outputs = own.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        return_tensors='pt',
        add_generation_prompt=answer_open,
        processor_kwargs={'padding': True, 'padding_side': 'left', 'images_kwargs': arguments},
    )
    return {key: value for key, value in outputs.items() if isinstance(value, torch.Tensor)}


def by_us(preprocessor: Preprocessor, episodes: Sequence[Episode], answer_open: bool) -> dict[str, Any]:
    encoder = EpisodeEncoder(preprocessor, training=not answer_open)
    samples = [encoder(episode, number) for number, episode in enumerate(episodes)]
    batch = Collator(preprocessor, 'left', training=not answer_open)(samples)
    return {key: value for key, value in batch.items() if key not in ('samples', 'labels')}


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


@pytest.mark.parametrize('name', EPISODES)
@pytest.mark.parametrize('model_type', KINDS)
def test_a_prompt_is_what_the_processor_makes(model_type: str, name: str, preprocessor_of: Any, own_processor: Any):
    found = by_us(preprocessor_of(model_type), [EPISODES[name]], True)
    assert_equal(found, by_processor(own_processor(model_type), [EPISODES[name]], True))


@pytest.mark.parametrize('name', EPISODES)
@pytest.mark.parametrize('model_type', KINDS)
def test_a_sample_is_what_the_processor_makes(model_type: str, name: str, preprocessor_of: Any, own_processor: Any):
    """LLaVA-OneVision's template writes another header before an answer it is given than before one it asks for."""
    found = by_us(preprocessor_of(model_type), [EPISODES[name]], False)
    own = own_processor(model_type)
    if model_type == 'llava_onevision':
        header = "{{ message.role }}{% if not loop.last or message.role == 'user' %}{{ ' ' }}{% endif %}"
        own.chat_template = own.chat_template.replace("{{ message.role + ' ' }}", header)
    assert_equal(found, by_processor(own, [EPISODES[name]], False))


@pytest.mark.parametrize('model_type', KINDS)
def test_a_batch_is_what_the_processor_makes(model_type: str, preprocessor_of: Any, own_processor: Any):
    episodes = [episode for name, episode in EPISODES.items() if name != 'no_image']
    found = by_us(preprocessor_of(model_type), episodes, True)
    assert_equal(found, by_processor(own_processor(model_type), episodes, True))


@pytest.mark.parametrize('model_type', KINDS)
def test_the_limit_of_tiles_is_that_of_the_processor(model_type: str, preprocessor_of: Any, own_processor: Any):
    limited = {
        'internvl': {'crop_to_patches': False},
        'idefics3': {'do_image_splitting': False},
        'smolvlm': {'do_image_splitting': False},
        'llava_onevision': {'image_grid_pinpoints': [[16, 16]]},
    }.get(model_type, {})
    own = own_processor(model_type)
    for name, value in limited.items():
        setattr(own.image_processor, name, value)
    found = by_us(preprocessor_of(model_type, max_tiles=1), [EPISODES['one_image']], True)
    assert_equal(found, by_processor(own, [EPISODES['one_image']], True, **limited))


THOUGHTS = Episode(
    item('<think>\nhm\n</think>\n\na cup', 1), (item('<think>\nI see\n</think>\n\ndax', 2), item('ka', 3))
)


@pytest.mark.parametrize('answer_open', [True, False])
@pytest.mark.parametrize('last', ['<think>\nhm\n</think>\n\na cup', '<think>hm</think>a cup', 'a cup'])
def test_thoughts_of_earlier_answers_are_left_out(
    last: str, answer_open: bool, preprocessor_of: Any, own_processor: Any
):
    episode = Episode(item(last, 1), THOUGHTS.support)
    preprocessor = preprocessor_of('qwen3_vl', 'thinking')
    found = by_us(preprocessor, [episode], answer_open)
    assert_equal(found, by_processor(own_processor('qwen3_vl', 'thinking'), [episode], answer_open))
    text = preprocessor.tokenizer.decode(found['input_ids'][0])
    assert 'I see' not in text
    assert 'dax' in text


def test_what_is_learnt_of_thoughts_follows_the_prompt(preprocessor_of: Any):
    preprocessor = preprocessor_of('qwen3_vl', 'thinking')
    assert learnt(preprocessor, THOUGHTS) == '<think>\nhm\n</think>\n\na cup<|im_end|>'
    assert learnt(preprocessor, Episode(item('ka', 1))) == '<think>\n\n</think>\n\nka<|im_end|>'
    quiet = preprocessor_of('qwen3_vl', 'thinking', conv_args={'template_args': {'enable_thinking': False}})
    assert learnt(quiet, Episode(item('ka', 1))) == 'ka<|im_end|>'


def learnt(preprocessor: Preprocessor, episode: Episode) -> str:
    sample = EpisodeEncoder(preprocessor, training=True)(episode, 0)
    prompt = EpisodeEncoder(preprocessor, training=False)(episode, 0)
    assert sample.input_ids[: len(prompt.input_ids)] == prompt.input_ids
    text = str(preprocessor.tokenizer.decode([label for label in sample.labels if label != IGNORE_INDEX]))
    assert preprocessor.tokenizer.decode(prompt.answers[prompt.target]) == text
    return text


@pytest.mark.parametrize('model_type', KINDS)
def test_answers_are_learnt_to_their_end_mark(model_type: str, preprocessor_of: Any):
    preprocessor = preprocessor_of(model_type)
    end = preprocessor.tokenizer.convert_ids_to_tokens(preprocessor.end_token_ids[0])
    assert learnt(preprocessor, EPISODES['shots']).strip() == f'a cup{end}'
    shots = Episode(item('a cup', 1), tuple(item(answer, 2) for answer in ('dax', 'bo')))
    for support in shots.support:
        support['conversations'][-1]['supervised'] = True
    sample = EpisodeEncoder(preprocessor, training=True)(shots, 0)
    text = preprocessor.tokenizer.decode([label for label in sample.labels if label != IGNORE_INDEX])
    assert ''.join(text.split()) == ''.join(f'dax{end}bo{end}a cup{end}'.split())
