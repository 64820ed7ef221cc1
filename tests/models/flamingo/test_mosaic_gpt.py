"""MosaicGPT: positions by biases or by embeddings, with and without a cache."""

import itertools
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from mllm.models.flamingo.mosaic_gpt import MosaicGPTConfig, MosaicGPTForCausalLM, alibi_slopes

SMALL = {'d_model': 24, 'n_heads': 3, 'n_layers': 2, 'vocab_size': 20, 'max_seq_len': 16, 'init_std': 0.2}
VARIANTS: list[dict[str, Any]] = [
    {'alibi': alibi, 'no_bias': no_bias, 'attn_qk_ln': norm, **more}
    for alibi, no_bias, norm, more in itertools.product(
        [True, False], [True, False], [True, False], [{}, {'attn_clip_qkv': 0.5, 'logit_scale': 'inv_sqrt_d_model'}]
    )
]


@pytest.mark.parametrize('changes', VARIANTS, ids=str)
def test_padding_and_cache_change_nothing(changes: dict[str, Any]):
    set_seed(1)
    model = MosaicGPTForCausalLM(MosaicGPTConfig(**SMALL, **changes)).eval()
    ids = torch.randint(1, 20, (1, 9))
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits
        padded = model(
            torch.cat([torch.zeros(1, 3, dtype=torch.int64), ids], dim=1),
            attention_mask=torch.tensor([[0] * 3 + [1] * 9]),
        ).logits[:, 3:]
        start = model(ids[:, :5], use_cache=True)
        end = model(ids[:, 5:], past_key_values=start.past_key_values)
    torch.testing.assert_close(padded, whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat([start.logits, end.logits], dim=1), whole, rtol=0, atol=1e-5)
    assert ('transformer.wpe.weight' in model.state_dict()) != changes['alibi']
    assert any(name.endswith('bias') for name in model.state_dict()) != changes['no_bias']


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_padding_stays_a_number_in_half_precision(dtype: torch.dtype):
    set_seed(1)
    model = MosaicGPTForCausalLM(MosaicGPTConfig(**SMALL, alibi=True)).eval()
    ids, mask = torch.tensor([[0, 0, 5, 6, 7]]), torch.tensor([[0, 0, 1, 1, 1]])
    with torch.no_grad():
        whole = model(ids, attention_mask=mask).logits[:, 2:]
        with torch.autocast('cpu', dtype=dtype):
            half = model(ids, attention_mask=mask).logits
        converted = model.to(dtype)(ids, attention_mask=mask).logits
    for found in (half, converted):
        assert found.isfinite().all()
        assert (found[:, 2:].float() - whole).norm() / whole.norm() < 0.05


def test_later_tokens_do_not_reach_earlier_ones():
    model = MosaicGPTForCausalLM(MosaicGPTConfig(**SMALL, alibi=True)).eval()
    first, second = (model(torch.tensor([[1, 2, 3, last]])).logits for last in (4, 5))
    assert torch.equal(first[:, :3], second[:, :3])
    assert not torch.equal(first[:, 3], second[:, 3])


@pytest.mark.parametrize(('heads', 'slopes'), [(4, [2**-2, 2**-4, 2**-6, 2**-8]), (3, [2**-4, 2**-8, 2**-2])])
def test_slopes_of_heads(heads: int, slopes: list[float]):
    assert alibi_slopes(MosaicGPTConfig(n_heads=heads, alibi=True)).tolist() == slopes


def test_transformers_knows_it_and_reads_what_it_writes(tmp_path):
    set_seed(1)
    config = AutoConfig.for_model(model_type='mosaic_gpt', **SMALL, alibi=True, attn_impl='triton')
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    assert model.lm_head.weight is model.transformer.wte.weight
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.randint(1, 20, (1, 9))
    assert torch.equal(again(ids).logits, model(ids).logits)
    assert again.lm_head.weight is again.transformer.wte.weight
