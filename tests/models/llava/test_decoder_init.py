"""mllm.models.llava.decoder_init: the start values, what they buy, and what padding may not do."""

from __future__ import annotations

import pytest
import torch
from transformers import Lfm2Config, Lfm2ForCausalLM, Lfm2Model, LlamaConfig, LlamaModel

from mllm.models.llava.decoder_init import open_gates_

HIDDEN, KERNEL = 32, 5


def small_config(**changes) -> Lfm2Config:
    return Lfm2Config(
        **{
            'vocab_size': 40,
            'hidden_size': HIDDEN,
            'num_hidden_layers': 4,
            'layer_types': ['conv', 'full_attention', 'conv', 'full_attention'],
            'conv_L_cache': KERNEL,
            'conv_bias': True,
            'num_attention_heads': 2,
            'num_key_value_heads': 2,
            'intermediate_size': 48,
            'block_auto_adjust_ff_dim': False,
            'initializer_range': HIDDEN**-0.5,
            'pad_token_id': 0,
        }
        | changes
    )


@pytest.fixture
def model() -> Lfm2Model:
    torch.manual_seed(0)
    model = Lfm2Model(small_config()).eval()
    open_gates_(model)
    return model


def test_start_values(model: Lfm2Model) -> None:
    weights = dict(model.named_parameters())
    kernels = [value for name, value in weights.items() if name.endswith('conv.conv.weight')]
    biases = [value for name, value in weights.items() if name.endswith('conv.in_proj.bias')]
    assert len(kernels) == len(biases) == 2
    for kernel, bias in zip(kernels, biases):
        torch.testing.assert_close(kernel, torch.full_like(kernel, KERNEL**-0.5))
        assert bias[: 2 * HIDDEN].eq(1).all()
        assert bias[2 * HIDDEN :].eq(0).all()
    keys = [name for name in weights if name.endswith('k_proj.weight')]
    assert len(keys) == 2
    for name in keys:
        assert torch.equal(weights[name], weights[name.replace('k_proj', 'q_proj')])
        assert weights[name].data_ptr() != weights[name.replace('k_proj', 'q_proj')].data_ptr()


def test_gates_start_near_one(model: Lfm2Model) -> None:
    hidden = torch.randn(3, 50, HIDDEN)
    gates = model.layers[0].conv.in_proj(hidden)[..., : 2 * HIDDEN]
    assert (gates > 0).float().mean() > 0.99
    plain = Lfm2Model(small_config())
    assert (plain.layers[0].conv.in_proj(hidden)[..., : 2 * HIDDEN] > 0).float().mean() < 0.6


@pytest.mark.parametrize('distance', range(KERNEL))
def test_a_later_token_carries_an_earlier_one_whatever_stands_between(model: Lfm2Model, distance: int) -> None:
    """What the convolution brings from token t - distance to t hardly depends on the other tokens up to t."""
    conv = model.layers[0].conv
    torch.manual_seed(1)
    image = torch.randn(HIDDEN)

    def carried() -> torch.Tensor:
        tokens = torch.randn(1, KERNEL, HIDDEN)
        changed = tokens.clone()
        changed[0, KERNEL - 1 - distance] += image
        return (conv(changed) - conv(tokens))[0, -1]

    with torch.no_grad():
        first, second = carried(), carried()
        assert torch.cosine_similarity(first, second, dim=0) > 0.8


def test_same_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        model = Lfm2Model(small_config())
        open_gates_(model)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_fewer_key_heads_than_query_heads() -> None:
    model = Lfm2Model(small_config(num_key_value_heads=1))
    open_gates_(model)
    attention = model.layers[1].self_attn
    assert torch.equal(attention.k_proj.weight, attention.q_proj.weight[: HIDDEN // 2])


@pytest.mark.parametrize('pads', [1, 7])
def test_left_padding_does_not_leak_while_the_x_bias_is_zero(model: Lfm2Model, pads: int) -> None:
    torch.manual_seed(2)
    ids = torch.randint(1, 40, (1, 12))
    padded = torch.cat([torch.zeros(1, pads, dtype=torch.long), ids], dim=1)
    mask = (padded != 0).long()

    def difference() -> float:
        with torch.no_grad():
            alone = model(input_ids=ids).last_hidden_state
            other = model(input_ids=padded, attention_mask=mask).last_hidden_state[:, pads:]
        return float((alone - other).abs().max())

    assert difference() < 1e-4
    with torch.no_grad():
        model.layers[0].conv.in_proj.bias[2 * HIDDEN :] = 0.5
    assert difference() > 1e-2


def test_causal_lm_is_accepted_too() -> None:
    model = Lfm2ForCausalLM(small_config())
    open_gates_(model)
    assert model.model.layers[0].conv.in_proj.bias[0] == 1


def test_decoders_without_convolutions_are_refused() -> None:
    config = LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    with pytest.raises(ValueError, match='LlamaModel has none'):
        open_gates_(LlamaModel(config))


def test_convolutions_without_bias_are_refused() -> None:
    with pytest.raises(ValueError, match='conv_bias=True'):
        open_gates_(Lfm2Model(small_config(conv_bias=False)))
