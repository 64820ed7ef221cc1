"""LLaMA-1's tokenizer equals the slow one of transformers 4, restated here on sentencepiece's own encoder."""

from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mllm.models.sentencepiece import from_sentencepiece
from mllm.models.tokens import add_tokens, load_tokenizer
from tests.slow_llama import ADDED, OWN, WORDS, slow_ids, train, write_tokenizer


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp('tokenizer'))


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(st.sampled_from([*WORDS, *ADDED, *OWN]) | st.text('aein to"', max_size=6), max_size=12))
def test_ids_equal_those_of_the_slow_tokenizer(folder: Path, parts: list[str]):
    text = ''.join(parts)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / 'tokenizer.model'))
    tokenizer = load_tokenizer(str(folder), 2048)
    assert tokenizer(text, add_special_tokens=False).input_ids == slow_ids(processor, text)
    assert tokenizer(text).input_ids == [1, *slow_ids(processor, text)]


def test_it_survives_saving_and_growing(folder: Path, tmp_path: Path):
    tokenizer = load_tokenizer(str(folder), 2048)
    add_tokens(tokenizer, ['<im_patch>', '<b_st>'])
    assert tokenizer.convert_tokens_to_ids('<b_st>') == tokenizer.convert_tokens_to_ids('<im_end>') + 1
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = ' USER: What <im_start><im_patch> <im_end> ?</s>there <b_st> is'
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again(text).input_ids == load_tokenizer(str(tmp_path), 2048)(text).input_ids
    assert (again.pad_token, again.bos_token, again.eos_token) == ('<unk>', '<s>', '</s>')
    assert tokenizer.model_max_length == 2048


def test_text_comes_back(folder: Path):
    tokenizer = load_tokenizer(str(folder), 2048)
    for text in ('there is "kit fox" in the image.', ' two  blanks', 'caf\u00e9 \u72d0'):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_tokenizer_that_says_it_is_not_of_the_old_kind_is_left_to_its_library(folder: Path, tmp_path: Path):
    for name in ('tokenizer.model', 'config.json'):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / 'tokenizer_config.json').write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": false}')
    assert type(load_tokenizer(str(tmp_path), 2048)) is type(AutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'model_type': 'unigram'}, 'is no BPE'),
        ({'byte_fallback': False}, 'has no byte pieces'),
        ({'normalization_rule_name': 'nmt_nfkc'}, 'changes characters'),
        ({'remove_extra_whitespaces': True}, 'treats blanks in another way'),
    ],
)
def test_models_of_another_kind_are_refused(changes: dict[str, Any], message: str, tmp_path: Path):
    path = tmp_path / 'tokenizer.model'
    path.write_bytes(train(**{'vocab_size': 300, **changes}))
    with pytest.raises(ValueError, match=message):
        from_sentencepiece(path)


@pytest.mark.parametrize('text', ['{', '["<a>"]', '{"<a>": 5}', '{"<a>": "400"}'])
def test_added_tokens_that_do_not_follow_on_are_refused(folder: Path, tmp_path: Path, text: str):
    (tmp_path / 'added_tokens.json').write_text(text)
    with pytest.raises(ValueError, match=r'added_tokens\.json'):
        from_sentencepiece(folder / 'tokenizer.model', tmp_path / 'added_tokens.json')


def test_a_damaged_model_is_named(tmp_path: Path):
    (tmp_path / 'tokenizer.model').write_bytes(b'no model')
    with pytest.raises(ValueError, match=r'tokenizer\.model is not a sentencepiece model'):
        from_sentencepiece(tmp_path / 'tokenizer.model')
