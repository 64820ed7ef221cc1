"""Models from parts, from folders of ours and from plain Hugging Face ones hold exactly the weights they should."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from mllm.models.builder import load_model, load_preprocessor
from mllm.utils.weights import save_weights

SIZES = {'hidden_size': 32, 'num_hidden_layers': 2, 'intermediate_size': 48, 'num_attention_heads': 2}


def same(first: Any, second: Any) -> bool:
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


@pytest.fixture
def clip_folder(tmp_path: Path) -> tuple[Path, CLIPModel]:
    """A whole CLIP, text encoder included, as the hub has them."""
    config = CLIPConfig(
        vision_config={**SIZES, 'image_size': 32, 'patch_size': 16},
        text_config={**SIZES, 'vocab_size': 20, 'bos_token_id': 1, 'eos_token_id': 2},
        projection_dim=8,
    )
    model = CLIPModel(config)
    model.save_pretrained(tmp_path / 'clip')
    CLIPImageProcessorPil(size={'shortest_edge': 32}, crop_size=32).save_pretrained(tmp_path / 'clip')
    return tmp_path / 'clip', model


@pytest.mark.parametrize('kind', ['clip_llama', 'resnet_lfm2'])
def test_the_seed_decides_the_weights(build: Callable[..., Any], kind: str):
    (first, _), (second, _), (third, _) = build(kind), build(kind), build(kind, seed=2)
    assert same(first, second)
    assert not same(first, third)
    assert not any(tensor.is_meta for tensor in (*first.parameters(), *first.buffers()))


def test_a_tower_by_path_keeps_its_weights(build: Any, clip_folder: Any, encode: Any, logits: Any):
    folder, clip = clip_folder
    model, preprocessor = build(vision_tower=str(folder))
    assert same(model.model.vision_tower, clip.vision_model)
    assert list(preprocessor.encode_images.processor.image_mean) == list(CLIPImageProcessorPil.image_mean)
    assert logits(model, preprocessor, [encode(preprocessor, 1)])[0].isfinite().all()


@pytest.mark.parametrize('kind', ['clip_llama', 'resnet_lfm2'])
def test_a_language_model_by_path_keeps_its_weights(build: Any, root: Path, tmp_path: Path, kind: str):
    source, preprocessor = build(kind)
    decoder = AutoModelForCausalLM.from_config(source.config.text_config)
    decoder.save_pretrained(tmp_path)
    preprocessor.tokenizer.save_pretrained(tmp_path)
    model, _ = build(kind, llm=str(tmp_path), tokenizer=None, decoder_init='default')
    assert same(model.model.language_model, decoder.get_decoder())
    assert torch.equal(model.lm_head.weight, decoder.lm_head.weight)
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert tied == (kind == 'resnet_lfm2')


def test_embeddings_of_a_loaded_language_model_grow_once(build: Any, root: Path, tmp_path: Path):
    source, preprocessor = build('clip_llama')
    decoder = AutoModelForCausalLM.from_config(source.config.text_config)
    decoder.save_pretrained(tmp_path)
    rows = len(preprocessor.tokenizer)
    tokens = {'boxes': {'type': 'TokenFormatter', 'num_bins': 11}}
    model, grown = build('clip_llama', llm=str(tmp_path), target_processor=tokens, mm_use_im_start_end=True)
    new = len(grown.tokenizer)
    assert new == rows + 2 + 6 + 11
    for layer, old in (
        (model.get_input_embeddings(), decoder.get_input_embeddings()),
        (model.lm_head, decoder.lm_head),
    ):
        assert layer.weight.shape[0] == new
        assert torch.equal(layer.weight[:rows], old.weight)
        torch.testing.assert_close(layer.weight[rows:], old.weight.mean(0).expand(new - rows, -1))
    assert model.config.text_config.vocab_size == model.model.language_model.config.vocab_size == new
    save_weights(model, str(tmp_path / 'saved'))
    again, _ = build(
        'clip_llama', model_name_or_path=str(tmp_path / 'saved'), target_processor=tokens, mm_use_im_start_end=True
    )
    assert same(model, again)


@pytest.mark.parametrize('projector', ['linear', 'mlp2x_gelu', 'pool'])
def test_a_saved_model_needs_nothing_but_its_folder(
    build: Any, encode: Any, logits: Any, tmp_path: Path, projector: str
):
    """Tower, language model, projector and layer come from its config.json, whatever model_args say of them."""
    shape = {'projector_args': {'num_tokens': 3, 'dim': 5}} if projector == 'pool' else {}
    model, preprocessor = build('clip_llama', projector=projector, **shape)
    if projector == 'pool':
        model.model.multi_modal_projector.pool.mean.normal_()
    save_weights(model, str(tmp_path))
    preprocessor.tokenizer.save_pretrained(tmp_path)
    CLIPImageProcessorPil(
        size={'shortest_edge': 32}, crop_size=32, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(tmp_path)
    args = {'type': 'llava', 'model_name_or_path': str(tmp_path), 'mm_vision_select_layer': -1}
    preprocessor_again = load_preprocessor(args)
    again = load_model(args, preprocessor_again)
    assert same(model, again)
    sample, sample_again = encode(preprocessor, 1, 2), encode(preprocessor_again, 1, 2)
    assert sample.input_ids == sample_again.input_ids
    found = logits(again, preprocessor_again, [sample_again])[0]
    assert torch.equal(found, logits(model, preprocessor, [sample])[0])


def test_a_tied_head_is_tied_again(build: Any, encode: Any, logits: Any, tmp_path: Path):
    model, preprocessor = build('resnet_lfm2')
    save_weights(model, str(tmp_path))
    again, _ = build('resnet_lfm2', model_name_or_path=str(tmp_path))
    assert same(model, again)
    assert again.lm_head.weight is again.get_input_embeddings().weight
    sample = encode(preprocessor, 1, 2)
    assert torch.equal(*(logits(each, preprocessor, [sample])[0] for each in (model, again)))


def test_the_start_values_of_the_decoder_are_those_asked_for(build: Any):
    (opened, _), (plain, _) = build('resnet_lfm2'), build('resnet_lfm2', decoder_init='default')
    gates = [model.model.language_model.layers[0].conv.in_proj.bias[:64] for model in (opened, plain)]
    assert gates[0].eq(1).all()
    assert gates[1].eq(0).all()


def test_projector_weights_are_never_dropped_in_silence(build: Any, model_args: Any, tmp_path: Path):
    """Without the field that names the projector, the folder is a plain LLaVA whose projector lacks its weights."""
    model, _ = build('clip_llama')
    save_weights(model, str(tmp_path))
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config.pop('mllm_projector') == {'name': 'linear'}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    args = model_args('clip_llama', model_name_or_path=str(tmp_path))
    with pytest.raises(ValueError, match=r'lacks weights.*multi_modal_projector\.linear_1'):
        load_model(args, load_preprocessor(args))


def test_a_plain_hugging_face_llava(build: Any, root: Path, tmp_path: Path, encode: Any, logits: Any):
    """As saved by its own class, under the names of older versions, with another id for its image token."""
    config = LlavaConfig(
        vision_config={'model_type': 'clip_vision_model', **SIZES, 'image_size': 32, 'patch_size': 16},
        text_config={'model_type': 'llama', **SIZES, 'vocab_size': 115, 'initializer_range': 0.2},
        image_token_index=114,
    )
    plain = LlavaForConditionalGeneration(config).eval()
    plain.save_pretrained(tmp_path)
    for name in ('tokenizer.json', 'tokenizer_config.json'):
        shutil.copy(root / 'data/tiny_llava' / name, tmp_path)
    CLIPImageProcessorPil(size={'shortest_edge': 32}, crop_size=32).save_pretrained(tmp_path)
    args = {'tokenizer': None, 'llm': None, 'vision_tower': None, 'model_name_or_path': str(tmp_path)}
    model, preprocessor = build('clip_llama', **args)
    assert same(model, plain)
    sample = encode(preprocessor, 1, 2)
    assert sample.input_ids.count(preprocessor.image_token_id) == 8
    ids = torch.tensor([sample.input_ids])
    as_plain = torch.where(ids == preprocessor.image_token_id, 114, ids)
    with torch.no_grad():
        expected = plain(input_ids=as_plain, pixel_values=sample.images, use_cache=False).logits[0]
    torch.testing.assert_close(logits(model, preprocessor, [sample])[0], expected)

    save_weights(model, str(tmp_path / 'again'))
    again, _ = build('clip_llama', **{**args, 'model_name_or_path': str(tmp_path / 'again'), 'tokenizer': str(tmp_path),
                                      'vision_tower': str(tmp_path)})  # fmt: skip
    assert same(again, model)


def test_an_adapter_may_hold_a_part(build: Any, tmp_path: Path):
    path = str(tmp_path / 'head.safetensors')
    given = {'norm.weight': torch.rand(16), 'proj.weight': torch.randn(8, 16), 'mean': torch.randn(8)}
    save_file(given, path)
    projector = build('resnet_lfm2', pretrain_mm_mlp_adapter=path)[0].model.multi_modal_projector
    plain = build('resnet_lfm2')[0].model.multi_modal_projector
    for name, tensor in projector.state_dict().items():
        expected = given.get(name.removeprefix('pool.'), plain.state_dict()[name])
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize('name', ['embed_tokens.weight', 'model.embed_tokens.weight'])
def test_an_adapter_may_hold_word_embeddings(build: Any, tmp_path: Path, name: str):
    path = str(tmp_path / 'adapter.safetensors')
    plain = build('resnet_lfm2')[0]
    words = torch.randn_like(plain.get_input_embeddings().weight)
    save_file({name: words, 'mean': torch.randn(8)}, path)
    model = build('resnet_lfm2', pretrain_mm_mlp_adapter=path)[0]
    assert torch.equal(model.get_input_embeddings().weight, words)
    assert model.lm_head.weight is model.get_input_embeddings().weight

    save_file({name: words[1:]}, path)
    with pytest.raises(ValueError, match=r'word embeddings: weight \[\d+, 32\] instead of'):
        build('resnet_lfm2', pretrain_mm_mlp_adapter=path)


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ({'pool.proj.weight': torch.zeros(8, 16), 'query': torch.zeros(1)}, 'the projector has no query; it has'),
        ({'proj.weight': torch.zeros(9, 16)}, r'pool\.proj\.weight \[9, 16\] instead of \[8, 16\]'),
    ],
)
def test_an_adapter_of_another_projector_is_refused(build: Any, tmp_path: Path, weights: Any, message: str):
    save_file(weights, tmp_path / 'head.safetensors')
    with pytest.raises(ValueError, match=message):
        build('resnet_lfm2', pretrain_mm_mlp_adapter=str(tmp_path / 'head.safetensors'))


def test_weights_in_half_precision(build: Any, tmp_path: Path):
    model, _ = build('clip_llama', dtype='bfloat16')
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    save_weights(model, str(tmp_path))
    again, _ = build('clip_llama', dtype='float32', model_name_or_path=str(tmp_path))
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    assert torch.equal(again.lm_head.weight, model.lm_head.weight.float())


def test_attention_is_chosen_for_the_language_model(build: Any, encode: Any, logits: Any):
    """A convolutional tower has none to choose."""
    models = {name: build('resnet_lfm2', attn_implementation=name) for name in ('eager', 'sdpa')}
    found = [logits(model, preprocessor, [encode(preprocessor, 1, 2)])[0] for model, preprocessor in models.values()]
    assert [m.model.language_model.config._attn_implementation for m, _ in models.values()] == ['eager', 'sdpa']
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)
