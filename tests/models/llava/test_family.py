"""Every image reaches the language model, and nothing else about a batch does; weights survive saving."""

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mllm.models.builder import load_model, load_preprocessor
from mllm.utils.weights import save_weights

KINDS = ('clip_llama', 'resnet_lfm2')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('place', [0, 1, 2])
def test_every_image_moves_the_answer(build: Any, encode: Any, logits: Any, kind: str, place: int):
    model, preprocessor = build(kind)
    seeds = [1, 2, 3]
    (before,) = logits(model, preprocessor, [encode(preprocessor, *seeds)])
    seeds[place] = 9
    (after,) = logits(model, preprocessor, [encode(preprocessor, *seeds)])
    assert (before[-1] - after[-1]).abs().max() > 1e-4


@pytest.mark.parametrize('kind', KINDS)
def test_under_last_only_the_last_image_alone_does(build: Any, encode: Any, logits: Any, kind: str):
    model, preprocessor = build(kind, image_splice='last_only')
    (before,) = logits(model, preprocessor, [encode(preprocessor, 1, 2, 3)])
    (other_support,) = logits(model, preprocessor, [encode(preprocessor, 8, 9, 3)])
    (other_query,) = logits(model, preprocessor, [encode(preprocessor, 1, 2, 9)])
    assert torch.equal(before, other_support)
    assert (before[-1] - other_query[-1]).abs().max() > 1e-4


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('side', ['right', 'left'])
def test_company_and_padding_change_nothing(build: Any, encode: Any, logits: Any, kind: str, side: str):
    model, preprocessor = build(kind)
    samples = [encode(preprocessor, 1, 2, 3), encode(preprocessor, None), encode(preprocessor, 4)]
    together = logits(model, preprocessor, samples, side)
    for sample, found in zip(samples, together, strict=True):
        (alone,) = logits(model, preprocessor, [sample])
        torch.testing.assert_close(found, alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_generation_is_the_same_alone_and_in_a_batch(build: Any, encode: Any, kind: str):
    model, preprocessor = build(kind)
    samples = [encode(preprocessor, 1, 2, 3), encode(preprocessor, 4)]
    from mllm.engine.collator import Collator

    collator = Collator(preprocessor, 'left', training=False)

    def generate(chosen: list[Any]) -> list[list[int]]:
        batch = {key: value for key, value in collator(chosen).items() if key != 'samples'}
        ids = model.generate(**batch, max_new_tokens=5, do_sample=False, eos_token_id=None)
        return ids[:, batch['input_ids'].shape[1] :].tolist()

    assert generate(samples) == [generate([sample])[0] for sample in samples]


@pytest.mark.parametrize('projector', ['linear', 'mlp2x_gelu', 'pool'])
def test_weights_come_back(build: Any, model_args: Any, encode: Any, logits: Any, tmp_path: Any, projector: str):
    model, preprocessor = build('clip_llama', projector=projector)
    model.model.multi_modal_projector.register_buffer  # noqa: B018 - buffers of 'pool' are part of the weights
    save_weights(model, str(tmp_path))
    arguments = model_args('clip_llama', projector=projector, model_name_or_path=str(tmp_path))
    again = load_model(arguments, load_preprocessor(arguments)).eval()
    sample = [encode(preprocessor, 1, 2)]
    torch.testing.assert_close(
        logits(model, preprocessor, sample)[0], logits(again, preprocessor, sample)[0], atol=0, rtol=0
    )


def test_missing_weights_are_named(build: Any, model_args: Any, tmp_path: Any):
    model, _ = build('clip_llama')
    save_weights(model, str(tmp_path))
    from safetensors.torch import load_file

    weights = load_file(tmp_path / 'model.safetensors')
    weights.pop('model.multi_modal_projector.weight')
    save_file(weights, tmp_path / 'model.safetensors')
    arguments = model_args('clip_llama', model_name_or_path=str(tmp_path))
    with pytest.raises(ValueError, match=r'model\.multi_modal_projector\.weight'):
        load_model(arguments, load_preprocessor(arguments))


def test_an_adapter_that_does_not_fit_is_named_with_both_shapes(build: Any, tmp_path: Any):
    path = str(tmp_path / 'adapter.safetensors')
    save_file({'weight': torch.zeros(3, 5)}, path)
    with pytest.raises(ValueError, match=r'weight.*3, 5.*32, 32'):
        build('clip_llama', pretrain_mm_mlp_adapter=path)


def test_new_tokens_get_the_mean_of_the_old_rows(build: Any):
    model, preprocessor = build('clip_llama', llm={'model_type': 'llama', 'hidden_size': 32, 'num_hidden_layers': 1,
                                'intermediate_size': 8, 'num_attention_heads': 2, 'vocab_size': 115},
                                mm_use_im_start_end=True)  # fmt: skip
    weight = model.get_input_embeddings().weight
    assert len(weight) == len(preprocessor.tokenizer) == 117
    torch.testing.assert_close(weight[116], weight[:115].mean(0))


def test_freezing_by_pattern(build: Any):
    model, _ = build('resnet_lfm2', tune=['model.multi_modal_projector.pool.proj.weight'],
                     freeze=['model.multi_modal_projector.pool', '*.conv.in_proj.bias'])  # fmt: skip
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert 'model.multi_modal_projector.pool.proj.weight' in learning
    assert 'model.multi_modal_projector.pool.norm.weight' not in learning
    assert not any('vision_tower' in name or name.endswith('conv.in_proj.bias') for name in learning)
    with pytest.raises(ValueError, match=r"'model\.vision_towre' matches no parameter; did you mean"):
        build('clip_llama', freeze=['model.vision_towre'])


@pytest.mark.parametrize('kind', KINDS)
def test_cached_features_are_the_same_bits_in_any_batch(build: Any, encode: Any, logits: Any, kind: str, tmp_path: Any):
    plain, preprocessor = build(kind)
    cached, _ = build(kind, feature_cache=str(tmp_path))
    samples = [encode(preprocessor, 1, 2, 3), encode(preprocessor, 3, 4)]
    for found, expected in zip(
        logits(cached, preprocessor, samples), logits(plain, preprocessor, samples), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    tower = cached.model.vision_tower.forward
    assert (tower.misses, tower.hits) == (4, 1)
    # A second run finds them on disk; the features do not depend on what else was in the batch.
    again, _ = build(kind, feature_cache=str(tmp_path))
    pixels = torch.cat([sample.images for sample in samples])
    first = cached.model.vision_tower(pixels[2:3]).last_hidden_state[0]
    second = again.model.vision_tower(pixels).last_hidden_state[2]
    assert torch.equal(first, second)
    assert again.model.vision_tower.forward.misses == 0


def test_a_cache_for_a_tower_that_learns_is_refused(build: Any):
    with pytest.raises(ValueError, match='feature_cache'):
        build('clip_llama', feature_cache='memory', freeze_vision_tower=False)


def test_a_frozen_tower_stays_in_evaluation_mode(build: Any):
    model, _ = build('resnet_lfm2')
    model.train()
    assert not model.model.vision_tower.training
    assert model.model.language_model.training
