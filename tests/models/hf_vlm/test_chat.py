"""Chat templates of other habits than those of the six types."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from mllm.dataset.encoder import EpisodeEncoder
from mllm.models.builder import load_preprocessor
from mllm.types import IGNORE_INDEX, Episode, images_of
from tests.models.hf_vlm.conftest import item
from tests.models.hf_vlm.kinds import make_folder

PARTS = "{% for part in m.content %}{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}"
TURNS = (
    '{% for m in messages %}{{ m.role | upper }}: {% if m.role == "user" %}'
    + PARTS
    + '{% else %}SAID{% endif %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}'
)
EPISODE = Episode(item('a', 1), (item('b', 2),))


def template(said: str) -> str:
    return TURNS.replace('SAID', said)


@pytest.fixture
def encoded(preprocessor_of: Callable[..., Any]) -> Callable[..., str]:
    """(chat template, further conv_args) -> the text of `EPISODE`, images as one token."""

    def encode(text: str, **conv_args: Any) -> str:
        preprocessor = preprocessor_of('smolvlm', max_tiles=1, conv_args={'chat_template': text, **conv_args})
        sample = EpisodeEncoder(preprocessor, training=True)(EPISODE, 0)
        around = '<fake_token_around_image>'
        return preprocessor.tokenizer.decode(sample.input_ids).replace(
            f'{around}<global-img><image>{around}', '<image>'
        )

    return encode


@pytest.mark.parametrize(
    'said', ['{{ m.content + eos_token }}', '{{ m.content }}{{ eos_token }}', "{{ m['content'].strip() ~ eos_token }}"]
)
def test_messages_that_a_template_takes_as_text(said: str, encoded: Any):
    question = 'USER: What is in the image <image>?'
    turns = f'{question} ASSISTANT: b<end_of_utterance> {question} ASSISTANT: a<end_of_utterance> '
    assert encoded(template(said)) == turns
    assert encoded(template(said), system='Be brief.') == f'SYSTEM: Be brief.<end_of_utterance> {turns}'


def test_a_conversation_that_a_template_refuses(encoded: Any):
    picky = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + template(PARTS)
    assert encoded(picky).startswith('USER')
    with pytest.raises(ValueError, match=r'does not take a conversation of system, user.*: no system here'):
        encoded(picky, system='Be brief.')


def test_a_tokenizer_that_begins_each_text_and_a_template_that_ends_no_answer(
    tmp_path: Path, model_args: Any, own_processor: Any
):
    """As of LLaVA-1.5: the beginning comes from the tokenizer, and an end is added for the model to learn."""
    folder = make_folder(tmp_path, 'smolvlm')
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = '<|im_start|>', tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f'{start[0]} $A', special_tokens=[start])
    tokenizer.save_pretrained(folder)
    preprocessor = load_preprocessor(
        {**model_args('smolvlm'), 'processor': str(folder), 'conv_args': {'chat_template': template(PARTS)}}
    )
    sample = EpisodeEncoder(preprocessor, training=True)(EPISODE, 0)
    own = own_processor('smolvlm')
    own.tokenizer = tokenizer
    question = 'USER: What is in the image <image>?'
    text = f'{question} ASSISTANT: b {question} ASSISTANT: a '
    pictures = [image for entry in EPISODE.items for image in images_of(entry)]
    expected = own(text=[text], images=[pictures])['input_ids'][0]
    assert sample.input_ids == [*expected, tokenizer.eos_token_id]
    assert expected[0] == tokenizer.bos_token_id
    assert tokenizer.decode([label for label in sample.labels if label != IGNORE_INDEX]) == ' a <end_of_utterance>'
    prompt = EpisodeEncoder(preprocessor, training=False)(EPISODE, 0)
    assert prompt.input_ids + prompt.answers['a'] == sample.input_ids
