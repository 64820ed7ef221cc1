"""Ids and labels equal those of the original pipeline, restated here: it counted tokens where we use offsets."""

from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.models.builder import load_preprocessor
from mllm.types import IGNORE_INDEX, Episode, Preprocessor, RawItem
from tests.slow_llama import slow_ids, write_tokenizer

BOS, END = 1, '</s>'
PATCHES = 4
IMAGE = '<im_start>' + '<im_patch>' * PATCHES + '<im_end>'
CHAT = (
    'A chat between a curious user and an artificial intelligence assistant. '
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
FIRST = (
    'You should find the causal relationship between the examples I am going to show you. '
    'And use that to answer to the [FINAL QUESTION]. '
)
FINAL = '[FINAL QUESTION]:  '
TEXTS = st.text('aeinot. ?"x', min_size=1, max_size=12).map(str.strip).filter(bool)


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Preprocessor, Any]:
    """Our preprocessor of a checkpoint in the published layout, and sentencepiece on the same model."""
    folder = write_tokenizer(tmp_path_factory.mktemp('published'))
    preprocessor = load_preprocessor(
        {
            'type': 'llava',
            'tokenizer': str(folder),
            'llm': {'model_type': 'llama', 'hidden_size': 8, 'num_hidden_layers': 1, 'num_attention_heads': 1},
            'vision_tower': {
                **{'model_type': 'clip_vision_model', 'hidden_size': 8, 'num_hidden_layers': 2},
                **{'num_attention_heads': 1, 'image_size': 16, 'patch_size': 8},
            },
            'image_size': 16,
            'mm_use_im_start_end': True,
            'model_max_length': 10**6,
        }
    )
    return preprocessor, sentencepiece.SentencePieceProcessor(model_file=str(folder / 'tokenizer.model'))


def item(question: str, answer: str, *more: str) -> RawItem:
    values = [question, answer, *more]
    turns: Any = [{'from': ('human', 'gpt')[n % 2], 'value': value} for n, value in enumerate(values)]
    return {'image': Image.new('RGB', (16, 16)), 'conversations': turns}


def prompt(system: str, conversation: RawItem) -> str:
    values = [turn['value'].replace('<image>', IMAGE) for turn in conversation['conversations']]
    pairs = zip(values[::2], values[1::2], strict=True)
    return system + ''.join(f'USER: {question} ASSISTANT: {answer}{END}' for question, answer in pairs)


def counted_labels(processor: Any, text: str) -> tuple[list[int], list[int]]:
    """The original's way: each round is tokenised again, and the tokens of its question are counted off."""
    ids = [BOS, *slow_ids(processor, text)]
    labels = [IGNORE_INDEX] * len(ids)
    position = 1
    for part in text.split(END)[:-1]:
        length = 1 + len(slow_ids(processor, part))
        question = 1 + len(slow_ids(processor, part.split(' ASSISTANT: ')[0] + ' ASSISTANT: ')) - 2
        labels[position + question : position + length] = ids[position + question : position + length]
        position += length
    return ids, labels


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0))
def test_a_single_sample(published: tuple[Preprocessor, Any], texts: list[str]):
    preprocessor, processor = published
    conversation = item(f'{texts[0]} <image>?', *texts[1:])
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(conversation), 0)
    assert (sample.input_ids, sample.labels) == counted_labels(processor, prompt(CHAT, conversation))


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(TEXTS, min_size=1, max_size=5), question=TEXTS, training=st.booleans())
def test_an_episode(published: tuple[Preprocessor, Any], labels: list[str], question: str, training: bool):
    preprocessor, processor = published
    support = [
        item('[BEGIN EXAMPLE] What is in the image <image>?', f'there is "{label}" in the image. [END EXAMPLE]')
        for label in labels
    ]
    query = item(f'{question} <image>?', f'there is "{labels[0]}" in the image.')
    sample = EpisodeEncoder(preprocessor, training)(Episode(query, tuple(support)), 0)
    expected: list[int] = []
    for number, conversation in enumerate(support):
        ids = [BOS, *slow_ids(processor, prompt(' ' if number else FIRST, conversation))]
        expected += ids[:-1] if number else ids
    ids, learnt = counted_labels(processor, prompt(FINAL, query))
    if training:
        assert sample.input_ids == expected + ids
        assert sample.labels == [IGNORE_INDEX] * len(expected) + learnt
    else:
        answer = [label for label in learnt if label != IGNORE_INDEX]
        assert sample.input_ids == expected + ids[: -len(answer)]
        assert sample.answers[sample.target] == answer
