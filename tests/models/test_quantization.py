"""Weights in 4 and 8 bits: which layers, with adapters beside them, saved and loaded; and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import is_bitsandbytes_available

from mllm.models import quantization
from mllm.models.adapters import adapted_layers
from mllm.models.builder import load_model, load_preprocessor
from mllm.models.freeze import apply_freeze, trainable_rows
from mllm.pipeline.trained import open_model
from mllm.utils.weights import save_weights

BITS = {'bits': 4, 'kind': 'nf4', 'double': True}
LORA = {'r': 2, 'alpha': 4.0}

needs_bitsandbytes = pytest.mark.skipif(not is_bitsandbytes_available(), reason='bitsandbytes is not installed')


@pytest.fixture
def decoder(tmp_path: Path) -> str:
    """A language model by path, in sizes that are multiples of the blocks of 4-bit codes."""
    torch.manual_seed(3)
    sizes = {'hidden_size': 64, 'num_hidden_layers': 2, 'intermediate_size': 128, 'num_attention_heads': 2}
    AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=512, **sizes, initializer_range=0.2)).save_pretrained(
        tmp_path / 'decoder'
    )
    return str(tmp_path / 'decoder')


def linear_dtypes(model: Any) -> dict[str, torch.dtype]:
    return {
        name.replace('.base_layer', ''): module.weight.dtype
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and 'lora_' not in name
    }


def count_all(model: Any) -> int:
    return sum(total for _, total, _ in trainable_rows(model))


def test_without_bitsandbytes_the_package_is_named(build, decoder: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quantization, 'is_bitsandbytes_available', lambda: False)
    with pytest.raises(ValueError, match=r'quantization needs the package bitsandbytes.*pip install bitsandbytes'):
        build(llm=decoder, quantization=BITS, lora=LORA)


def test_a_machine_bitsandbytes_does_not_know_is_named(build, decoder: str, monkeypatch: pytest.MonkeyPatch):
    def fail(raise_exception: bool) -> None:
        raise RuntimeError('None of the available devices')

    monkeypatch.setattr(quantization, 'is_bitsandbytes_available', lambda: True)
    monkeypatch.setattr(quantization, 'validate_bnb_backend_availability', fail)
    with pytest.raises(ValueError, match='bitsandbytes does not work on this machine'):
        build(llm=decoder, quantization=BITS, lora=LORA)


def test_drawn_weights_and_folders_of_our_runs_are_refused(build, tmp_path: Path):
    with pytest.raises(ValueError, match='whose weights are drawn'):
        build(quantization=BITS, lora=LORA)
    model, _ = build()
    save_weights(model, str(tmp_path / 'run'))
    with pytest.raises(ValueError, match='in the layout of LLaVA or of our runs'):
        build(model_name_or_path=str(tmp_path / 'run'), quantization=BITS, lora=LORA)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'bits': 3}, r'quantization\.bits=3'),
        ({'bits': 4, 'kind': 'int4'}, r"quantization\.kind='int4'"),
        ({'bits': 8, 'double': False}, 'are of 4 bits'),
        ({}, r'quantization\.bits=None'),
    ],
)
def test_bad_arguments(build, decoder: str, changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        build(llm=decoder, quantization=changes, lora=LORA)


def test_codes_do_not_learn():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[0].weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.uint8), requires_grad=False)
    apply_freeze(model, [], [])
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, True, True]
    with pytest.raises(ValueError, match=r"'0\.weight' names weights in 4 or 8 bits"):
        apply_freeze(model, [], ['0.weight'])


@needs_bitsandbytes
@pytest.mark.parametrize('bits', [{'bits': 4}, {'bits': 4, 'kind': 'fp4', 'double': False}, {'bits': 8}])
def test_the_language_model_alone_is_quantised(build, decoder: str, encode, logits, bits: dict[str, Any]):
    plain, preprocessor = build(llm=decoder)
    model, _ = build(llm=decoder, quantization=bits, lora=LORA)
    for name, dtype in linear_dtypes(model).items():
        codes = name.startswith('model.language_model.')
        assert dtype == ((torch.uint8 if bits['bits'] == 4 else torch.int8) if codes else torch.float32), name
    assert set(adapted_layers(model)) == {name for name in linear_dtypes(model) if 'language_model' in name}
    assert all('bnb' in type(layer).__module__ for layer in adapted_layers(model).values())
    adapters = sum(learning for _, _, learning in trainable_rows(model))
    assert count_all(model) == count_all(plain) + adapters
    (expected,) = logits(plain, preprocessor, [encode(preprocessor, 1, 2)])
    (found,) = logits(model, preprocessor, [encode(preprocessor, 1, 2)])
    assert torch.nn.functional.cosine_similarity(expected, found, dim=-1).mean() > 0.7


@needs_bitsandbytes
@pytest.mark.parametrize('bits', [{'bits': 4}, {'bits': 8}])
def test_adapters_learn_are_saved_and_loaded(build, decoder: str, encode, logits, bits: dict[str, Any], tmp_path: Path):
    options = {'llm': decoder, 'quantization': bits, 'lora': LORA}
    model, preprocessor = build(**options)
    sample = encode(preprocessor, 1, 2)
    before = step(model, preprocessor, sample)
    assert step(model, preprocessor, sample) < before
    save_weights(model, str(tmp_path / 'adapter'))
    assert all('lora_' in name for name in load_file(tmp_path / 'adapter' / 'model.safetensors'))
    assert 'quantization' not in (tmp_path / 'adapter' / 'config.json').read_text()
    again, _ = build(**options, adapter=str(tmp_path / 'adapter'))
    (expected,), (found,) = (logits(m.eval(), preprocessor, [sample]) for m in (model, again))
    torch.testing.assert_close(found, expected)
    # What was learnt beside codes may stand beside the weights they are codes of.
    whole, _ = build(llm=decoder, lora=LORA, adapter=str(tmp_path / 'adapter'))
    assert logits(whole, preprocessor, [sample])[0].isfinite().all()


def step(model: Any, preprocessor: Any, sample: Any) -> float:
    """A step of gradient descent; the loss before it."""
    from mllm.engine.collator import Collator
    from mllm.engine.loss import supervised_loss

    loss, _ = supervised_loss(model.train(), Collator(preprocessor, 'right', training=True)([sample]))
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.3 * parameter.grad
                parameter.grad = None
    return loss.item()


@needs_bitsandbytes
def test_a_plain_hugging_face_model_by_path(build, model_args: Callable[..., dict[str, Any]], tmp_path: Path):
    model, preprocessor = build(projector='mlp2x_gelu')
    plain = plain_llava(model)
    plain.save_pretrained(tmp_path / 'plain')
    preprocessor.tokenizer.save_pretrained(tmp_path / 'plain')
    arguments = model_args(model_name_or_path=str(tmp_path / 'plain'), quantization={'bits': 8}, lora=LORA)
    loaded = load_model(arguments, load_preprocessor(arguments))
    dtypes = linear_dtypes(loaded)
    assert {name for name, dtype in dtypes.items() if dtype == torch.int8} == {
        name for name in dtypes if name.startswith('model.language_model.')
    }
    assert set(adapted_layers(loaded)) == {name for name in dtypes if name.startswith('model.language_model.')}


def plain_llava(model: Any) -> Any:
    """A Hugging Face LLaVA with these parts, its own projector drawn."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=model.config.vision_config,
        text_config=model.config.text_config,
        vision_feature_layer=-2,
        image_token_index=model.config.image_token_id,
    )
    return LlavaForConditionalGeneration(config)


@needs_bitsandbytes
def test_any_vlm_by_path(root: Path, tmp_path: Path):
    opened = open_model(str(root / 'config/_base_/model/tiny_hf_vlm.py'))
    opened.family.export(opened.model, opened.arguments, opened.preprocessor, 'hf', str(tmp_path))
    args = {'type': 'hf_vlm', 'model_name_or_path': str(tmp_path), 'quantization': {'bits': 8}, 'lora': LORA}
    loaded = load_model(args, load_preprocessor(args))
    decoder_layers = {name for name in linear_dtypes(loaded) if name.startswith('model.text_model.')}
    assert {name for name, dtype in linear_dtypes(loaded).items() if dtype == torch.int8} == decoder_layers
    assert set(adapted_layers(loaded)) == decoder_layers
