"""The tiny model's committed assets and the tools that build them."""

from __future__ import annotations

import importlib.util
import itertools
import string
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from mllm.conversation.templates import CONVERSATION_TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / 'data' / 'tiny_llava'
CHARACTERS = sorted(set(string.printable) - set('\t\r\x0b\x0c'))

FIRST_SUPPORT = (
    'You should find the causal relationship between the examples I am going to show you. '
    'And use that to answer to the [FINAL QUESTION]. USER: [BEGIN EXAMPLE] What is in the image <image>? '
    'ASSISTANT: there is "abcd" in the image. [END EXAMPLE]</s>'
)
SUPPORT = ' USER: [BEGIN EXAMPLE] What is in the image <image>? ASSISTANT: there is "efgh" in the image. [END EXAMPLE]'
QUERY = (
    '<s>[FINAL QUESTION]:  USER: Based on the previous examples, what is in the image <image>? '
    'ASSISTANT: there is "red apple" in the image.</s>'
)


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / 'tiny_llava' / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(ASSETS)


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)['input_ids'])


def test_committed_tokenizer_is_what_the_tool_builds(tmp_path: Path) -> None:
    load_tool('build_tokenizer').build_tokenizer().save_pretrained(tmp_path)
    assert (tmp_path / 'tokenizer.json').read_text() == (ASSETS / 'tokenizer.json').read_text()
    built, kept = AutoTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(ASSETS)
    assert built.get_vocab() == kept.get_vocab()
    assert built.special_tokens_map == kept.special_tokens_map


def test_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    names = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token)
    assert names == ('<s>', '</s>', '<unk>', '<pad>')
    assert {'<image>', '<im_patch>'} <= set(tokenizer.all_special_tokens)
    assert tokenizer('ab')['input_ids'] == tokenizer('ab', add_special_tokens=False)['input_ids']


def test_prompts_of_the_protocol(tokenizer: PreTrainedTokenizerFast) -> None:
    system = CONVERSATION_TEMPLATES['causal_v1.0'].system
    example = [' USER:', ' [BEGIN EXAMPLE]', ' What is in the image ', '<image>', '?', ' ASSISTANT:', ' there is "']
    end = ['" in the image.', ' [END EXAMPLE]']
    assert pieces(tokenizer, FIRST_SUPPORT) == [system, *example, *'abcd', *end, '</s>']
    assert pieces(tokenizer, SUPPORT) == [*example, *'efgh', *end]
    question = ['<s>', '[FINAL QUESTION]:', ' ', ' USER:', ' Based on the previous examples, what is in the image ']
    answer = ['<image>', '?', ' ASSISTANT:', ' there is "', *'red apple', '" in the image.', '</s>']
    assert pieces(tokenizer, QUERY) == [*question, *answer]


def test_the_answer_follows_the_open_prompt_token_by_token(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = QUERY[: QUERY.index(' there is')]
    assert pieces(tokenizer, prompt) == pieces(tokenizer, QUERY)[: len(pieces(tokenizer, prompt))]


def test_system_texts_are_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    for name in ('causal_v1.0', 'vicuna_v1.1'):
        assert len(pieces(tokenizer, CONVERSATION_TEMPLATES[name].system)) == 1


@pytest.mark.parametrize('text', [' there is "x" in the images', 'see the [FINAL QUESTION]:s', ' in the image-set'])
def test_phrases_end_with_words(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    found = pieces(tokenizer, text)
    assert ''.join(found) == text
    assert not any(piece.endswith('image') and following.isalnum() for piece, following in itertools.pairwise(found))


PHRASES = st.sampled_from(
    [FIRST_SUPPORT, SUPPORT, QUERY, ' there is "', '" in the image.', ' USER:', '<image>', '</s>']
)
TEXTS = st.lists(PHRASES | st.text(CHARACTERS, max_size=12), max_size=6).map(''.join)


@given(text=TEXTS)
def test_ascii_text_round_trips_with_exact_offsets(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert tokenizer.decode(encoding['input_ids']) == text
    found = tokenizer.convert_ids_to_tokens(encoding['input_ids'])
    assert [text[start:stop] for start, stop in encoding['offset_mapping']] == found
    assert tokenizer.unk_token_id not in encoding['input_ids']


def test_other_characters_are_one_unknown_token_each(tokenizer: PreTrainedTokenizerFast) -> None:
    assert pieces(tokenizer, 'caf\u00e9 \u4f60') == ['c', 'a', 'f', '<unk>', ' ', '<unk>']


def test_vision_assets_load_and_are_small() -> None:
    tower = AutoModel.from_pretrained(ASSETS / 'vision').eval()
    head = load_file(ASSETS / 'projector.safetensors')
    processor = AutoImageProcessor.from_pretrained(ASSETS / 'vision')
    size = processor.crop_size['height']
    with torch.no_grad():
        grid = tower(torch.zeros(1, 3, size, size)).last_hidden_state
    assert grid.shape[1] == tower.config.hidden_size == head['norm.weight'].shape[0] == head['proj.weight'].shape[1]
    assert head['mean'].shape == head['std'].shape == head['proj.weight'].shape[:1]
    assert head['std'].min() > 0
    assert sum(path.stat().st_size for path in ASSETS.rglob('*.safetensors')) <= 1.5e6
