"""Adapters: what learns, what a checkpoint holds, over which base it may be loaded, and merging."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mllm.models.adapters import adapted_layers, merge_adapters
from mllm.models.builder import load_model
from mllm.utils.learnt_weights import sample as sample_of
from mllm.utils.weight_files import read_folder
from mllm.utils.weights import load_weights, save_weights

LORA = {'r': 2, 'alpha': 4.0, 'target': ['*q_proj', '*mlp*']}


def learning(model) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def stir(model) -> None:
    """Give every learning parameter another value."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)


@pytest.fixture
def sample(encode):
    return lambda preprocessor: [encode(preprocessor, 1, 2, 3)]


def test_only_adapters_learn_and_what_tune_names(build):
    model, _ = build(lora=LORA, tune=['model.multi_modal_projector'])
    names = learning(model)
    assert {name for name in names if 'lora_' not in name} == {
        'model.multi_modal_projector.weight',
        'model.multi_modal_projector.bias',
    }
    layers = set(adapted_layers(model))
    assert 'model.language_model.layers.1.self_attn.q_proj' in layers
    assert 'model.vision_tower.encoder.layers.0.self_attn.q_proj' in layers
    assert not any('k_proj' in name for name in layers)


def test_without_target_the_language_model_gets_adapters_and_not_the_tower(build):
    model, _ = build(lora={'r': 2})
    layers = adapted_layers(model)
    assert layers
    assert all(name.startswith('model.language_model.') for name in layers)


@pytest.mark.parametrize('dora', [False, True])
def test_adapters_start_as_nothing_and_merge_into_the_same_logits(build, sample, logits, dora):
    plain, preprocessor = build()
    model, _ = build(lora={**LORA, 'dora': dora})
    (expected,) = logits(plain, preprocessor, sample(preprocessor))
    (first,) = logits(model, preprocessor, sample(preprocessor))
    torch.testing.assert_close(first, expected, atol=1e-5, rtol=0)
    stir(model)
    (learnt,) = logits(model, preprocessor, sample(preprocessor))
    assert (learnt - expected).abs().max() > 0.1
    merge_adapters(model)
    assert not adapted_layers(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    (merged,) = logits(model, preprocessor, sample(preprocessor))
    torch.testing.assert_close(merged, learnt, atol=1e-4, rtol=0)


def test_a_checkpoint_holds_what_was_learnt_and_gives_the_same_logits(
    build, sample, logits, model_args, tmp_path: Path
):
    options = {'lora': LORA, 'tune': ['model.multi_modal_projector']}
    model, preprocessor = build(**options)
    stir(model)
    save_weights(model, str(tmp_path))
    assert sorted(load_file(tmp_path / 'model.safetensors')) == sorted(learning(model))
    again, _ = build(**options, adapter=str(tmp_path))
    (expected,) = logits(model, preprocessor, sample(preprocessor))
    (found,) = logits(again, preprocessor, sample(preprocessor))
    assert torch.equal(found, expected)


def test_adapters_of_another_base_are_refused(build, tmp_path: Path):
    model, _ = build(lora=LORA)
    save_weights(model, str(tmp_path))
    with pytest.raises(ValueError, match=r'learnt over another base.*has other values'):
        build(lora=LORA, adapter=str(tmp_path), seed=2)


def test_a_base_in_bfloat16_is_the_same_base(build, tmp_path: Path):
    model, _ = build(lora=LORA)
    save_weights(model, str(tmp_path))
    half = copy.deepcopy(model).bfloat16()
    load_weights(half, str(tmp_path))
    weights = half.state_dict()
    assert all(torch.equal(weights[name], tensor.bfloat16()) for name, tensor in read_folder(tmp_path).items())


def test_a_base_of_which_nothing_can_be_said_is_not_the_same_base(build, tmp_path: Path):
    model, _ = build(lora=LORA)
    model.model.vision_tower.pre_layrnorm.weight.data[0] = float('nan')
    save_weights(model, str(tmp_path))
    with pytest.raises(ValueError, match=r'pre_layrnorm\.weight has other values'):
        build(lora=LORA, adapter=str(tmp_path))


@pytest.mark.parametrize('size', [0, 1, 7, 8, 9, 2**24 + 5, 3 * 2**28 + 1])
def test_a_sample_of_a_tensor_reaches_from_its_first_value_to_its_last(size: int):
    found = sample_of(torch.zeros(1).expand(size))
    assert len(found) == min(size, 8)


def test_other_adapters_than_the_folder_has_are_an_error_with_names(build, tmp_path: Path):
    model, _ = build(lora=LORA)
    save_weights(model, str(tmp_path))
    with pytest.raises(ValueError, match=r'unexpected: .*mlp'):
        build(lora={'r': 2, 'target': ['*q_proj']}, adapter=str(tmp_path))
    with pytest.raises(ValueError, match=r'another shape: .*\[2, .*\] instead of \[3, '):
        build(lora={**LORA, 'r': 3}, adapter=str(tmp_path))


def test_whole_models_and_adapters_are_not_taken_for_each_other(build, model_args, tmp_path: Path):
    model, preprocessor = build(lora=LORA)
    save_weights(model, str(tmp_path / 'adapter'))
    plain, _ = build()
    save_weights(plain, str(tmp_path / 'whole'))
    with pytest.raises(ValueError, match=r'holds adapters alone.*model_args\.adapter'):
        load_model(model_args(model_name_or_path=str(tmp_path / 'adapter')), preprocessor)
    with pytest.raises(ValueError, match=r'holds a whole model.*model_name_or_path'):
        build(lora=LORA, adapter=str(tmp_path / 'whole'))


@pytest.mark.parametrize(
    ('lora', 'message'),
    [
        ({'r': 0}, r'lora\.r=0'),
        ({'r': 2, 'alpha': 0}, r'lora\.alpha=0'),
        ({'r': 2, 'dropout': 1.0}, r'lora\.dropout=1'),
        ({'r': 2, 'target': ['*query']}, r"'\*query' matches no linear layer"),
    ],
)
def test_bad_arguments(build, lora, message):
    with pytest.raises(ValueError, match=message):
        build(lora=lora)


def test_a_layer_cannot_learn_beside_its_adapter(build):
    with pytest.raises(ValueError, match='would learn beside its own adapter'):
        build(lora=LORA, tune=['*q_proj*'])


def test_an_adapter_needs_the_arguments_it_was_made_with(model_args, build):
    with pytest.raises(ValueError, match=r'adapter needs model_args\.lora'):
        build(adapter='somewhere')


def test_a_tied_layer_has_no_adapter_as_merging_would_change_the_embeddings(build):
    with pytest.raises(ValueError, match=r'weights of lm_head are other layers.*model_args\.tune'):
        build('resnet_lfm2', lora={'r': 2, 'target': ['lm_head', '*out_proj']})
