"""Tokens are added once; embeddings grow to them and never shrink."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from mllm.grounding.formatter import TokenFormatter
from mllm.models.tokens import add_tokens, fit_embeddings


def small_model(rows: int, tied: bool) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            tie_word_embeddings=tied,
        )
    )


def test_each_token_is_added_once_and_stays_whole(root: Path):
    tokenizer = AutoTokenizer.from_pretrained(root / 'data/tiny_llava')
    size = len(tokenizer)
    for _ in range(2):
        add_tokens(tokenizer, ['<image>', '<new>', '<im_start>'])
    assert len(tokenizer) == size + 2
    assert tokenizer.tokenize('fox<new>fox')[-4:] == ['<new>', *tokenizer.tokenize('fox')]
    assert tokenizer.decode(tokenizer('<new>').input_ids, skip_special_tokens=True).strip() == ''


def test_tokens_of_earlier_calls_stay_special(root: Path):
    tokenizer = AutoTokenizer.from_pretrained(root / 'data/tiny_llava')
    add_tokens(tokenizer, ['<one>'])
    add_tokens(tokenizer, ['<two>'])
    ids = tokenizer.convert_tokens_to_ids(['<one>', '<two>', '<image>'])
    assert set(ids) <= set(tokenizer.all_special_ids)


def test_what_answers_write_survives_decoding_and_keeps_its_row(root: Path, tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(root / 'data/tiny_llava')
    size = len(tokenizer)
    boxes = TokenFormatter(5).special_tokens()
    add_tokens(tokenizer, ['<first>', *boxes, '<last>'], written=boxes)
    assert tokenizer.convert_tokens_to_ids(['<first>', *boxes, '<last>']) == list(range(size, len(tokenizer)))
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        text = TokenFormatter(5).format_boxes([[0, 0.25, 0.5, 1]])
        ids = one(f'a<first>{text}</s>').input_ids
        assert len(ids) == 9
        decoded = one.decode(ids, skip_special_tokens=True)
        assert TokenFormatter(5).extract_boxes(decoded) == [[[0, 0.25, 0.5, 1]]]
        assert '<first>' not in decoded


def test_a_tokenizer_without_pad_token_pads_with_unknown(root: Path):
    tokenizer = AutoTokenizer.from_pretrained(root / 'data/tiny_llava')
    tokenizer.pad_token = None
    add_tokens(tokenizer, [])
    assert tokenizer.pad_token == '<unk>'


def test_new_rows_are_the_mean_of_the_old_in_embeddings_and_head():
    for tied in (False, True):
        model = small_model(10, tied)
        old = model.get_input_embeddings().weight.detach().clone()
        head = model.lm_head.weight.detach().clone()
        fit_embeddings(model, 12)
        assert torch.equal(model.get_input_embeddings().weight[:10], old)
        torch.testing.assert_close(model.get_input_embeddings().weight[10:], old.mean(0).expand(2, -1))
        torch.testing.assert_close(model.lm_head.weight[10:], head.mean(0).expand(2, -1))
        assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied


def test_rows_beyond_the_tokenizer_are_kept():
    model = small_model(64, False)
    fit_embeddings(model, 50)
    assert model.get_input_embeddings().weight.shape[0] == 64
