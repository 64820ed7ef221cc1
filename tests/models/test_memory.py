"""Memory by formula against tensors that are there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils import is_bitsandbytes_available

from mllm.models.builder import load_model, load_preprocessor, load_skeleton
from mllm.models.freeze import trainable_rows
from mllm.models.memory import Load, cache_bytes, coded_bytes, sizes_of, text_of, ways_to_generate, ways_to_train
from mllm.pipeline.trained import model_of
from tests.models.test_quantization import decoder  # noqa: F401

LORA = {'r': 3, 'target': ['model.language_model']}
LOAD = Load(batch=2, length=16, answer=4)


@pytest.mark.parametrize(
    ('kind', 'changes'),
    [
        ('clip_llama', {}),
        ('clip_llama', {'projector': 'mlp2x_gelu', 'dtype': 'bfloat16', 'freeze_vision_tower': False}),
        ('clip_llama', {'lora': LORA, 'tune': ['model.multi_modal_projector']}),
        ('resnet_lfm2', {}),
        ('resnet_lfm2', {'tune_mm_mlp_adapter': True, 'mm_use_im_start_end': True}),
    ],
)
def test_a_skeleton_counts_as_the_model_that_is_built(build: Any, model_args: Any, kind: str, changes: Any):
    model, preprocessor = build(kind, **changes)
    skeleton = load_skeleton(model_args(kind, **changes), preprocessor)
    assert {parameter.device.type for parameter in skeleton.parameters()} == {'meta'}
    assert trainable_rows(skeleton) == trainable_rows(model)
    assert {name: (p.shape, p.dtype) for name, p in skeleton.named_parameters()} == {
        name: (p.shape, p.dtype) for name, p in model.named_parameters()
    }


@pytest.mark.parametrize('changes', [{}, {'dtype': 'bfloat16'}, {'lora': LORA}, {'tune_mm_mlp_adapter': True}])
def test_weights_gradients_and_adamw_are_what_tensors_hold(build: Any, model_args: Any, changes: Any):
    model, preprocessor = build(**changes)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW(learning)
    optimizer.step()
    moments = sum(t.nbytes for state in optimizer.state.values() for key, t in state.items() if key != 'step')
    skeleton = load_skeleton(model_args(**changes), preprocessor)
    way, *_ = ways_to_train(skeleton, sizes_of(skeleton, changes.get('lora')), LOAD, half=False)
    assert way.weights == sum(parameter.nbytes for parameter in model.parameters())
    assert way.gradients == sum(parameter.nbytes for parameter in learning)
    assert way.optimizer == moments


@pytest.mark.parametrize('kind', ['clip_llama', 'resnet_lfm2'])
def test_the_cache_is_what_generation_holds(build: Any, kind: str):
    model, _ = build(kind)
    ids = torch.ones(LOAD.batch, LOAD.length, dtype=torch.long)
    cache = model(input_ids=ids, use_cache=True).past_key_values
    held = [layer for layer in cache.layers if isinstance(getattr(layer, 'keys', None), torch.Tensor)]
    measured = sum(layer.keys.nbytes + layer.values.nbytes for layer in held)
    assert cache_bytes(text_of(model), LOAD, 4) == measured


def test_adapters_that_a_config_does_not_have_are_counted_as_peft_would_make_them(build: Any):
    plain, _ = build()
    adapted, _ = build(lora={'r': 16})
    assert sizes_of(plain, None).adapters == sizes_of(adapted, {'r': 16}).adapters
    assert sizes_of(plain, None).base == sizes_of(adapted, {'r': 16}).base


def test_ways_are_ordered_as_one_expects(build: Any):
    model, _ = build()
    sizes = sizes_of(model, None)
    ways = {way.name: way for way in ways_to_train(model, sizes, LOAD, half=True)}
    fixed = [way.fixed for name, way in ways.items() if name.startswith(('all', 'QLoRA'))]
    assert len(fixed) == 4
    assert fixed == sorted(fixed, reverse=True)
    assert all(way.checkpointed <= way.activations for way in ways.values())
    weights = [way.weights for way in ways_to_generate(model, sizes, LOAD)]
    assert weights == sorted(weights, reverse=True)


def test_activation_estimates_are_near_what_backward_keeps(build: Any):
    """Tensors that autograd keeps for the language model's layers, each storage once."""
    model, _ = build(attn_implementation='sdpa')
    load = Load(batch=2, length=64, answer=64)
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model.model.language_model(input_ids=torch.ones(load.batch, load.length, dtype=torch.long))
    assert outputs.last_hidden_state.requires_grad
    estimate = next(ways_to_train(model, sizes_of(model, None), Load(2, 64, 1), half=False)).activations
    assert 0.5 < estimate / sum(kept.values()) < 1.5


@pytest.mark.skipif(not is_bitsandbytes_available(), reason='bitsandbytes is not installed')
@pytest.mark.parametrize('bits', [4, 8])
def test_codes_take_what_is_counted(build: Any, decoder: str, bits: int):  # noqa: F811
    model, _ = build(llm=decoder, quantization={'bits': bits}, lora=LORA)
    plain, _ = build(llm=decoder)
    names = [name for name, _ in plain.named_parameters()]
    state = {name.replace('.base_layer', ''): tensor for name, tensor in model.state_dict().items()}
    layers = tuple(
        name.removesuffix('weight') for name, tensor in state.items() if tensor.dtype in (torch.uint8, torch.int8)
    )
    held = sum(tensor.nbytes for name, tensor in state.items() if name in names or name.startswith(layers))
    # Besides, each layer has tables of its own: 4 KB in all, which a large layer does not feel.
    assert coded_bytes(sizes_of(plain, None), bits, 4) == pytest.approx(held, rel=0.1)


@pytest.mark.parametrize('name', ['tiny_flamingo', 'tiny_otter', 'tiny_hf_vlm'])
@pytest.mark.parametrize('changes', [{}, {'lora': {'r': 2}}])
def test_every_family_tells_its_shape(root: Path, name: str, changes: dict[str, Any]):
    args = {**model_of(str(root / f'config/_base_/model/{name}.py')), **changes}
    preprocessor = load_preprocessor(args)
    model, skeleton = load_model(args, preprocessor), load_skeleton(args, preprocessor)
    assert {parameter.device.type for parameter in skeleton.parameters()} == {'meta'}
    assert trainable_rows(skeleton) == trainable_rows(model)
    way, *_ = ways_to_train(skeleton, sizes_of(skeleton, changes.get('lora')), LOAD, half=False)
    assert way.weights == sum(parameter.nbytes for parameter in model.parameters())
