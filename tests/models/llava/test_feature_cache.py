"""An image's cached features are the same bits in any company, run and precision; training cannot tell the cache."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mllm.engine.collator import Collator
from mllm.models.llava.feature_cache import CHUNK, FeatureStore, cache_features, content_key, fingerprint

KINDS = ('clip_llama', 'resnet_lfm2')


def features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    layer = model.config.vision_feature_layer
    with torch.no_grad():
        return model.model.vision_tower(pixels, output_hidden_states=layer, return_dict=True).hidden_states[layer]


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('kind', KINDS)
def test_company_does_not_matter_to_a_bit(build: Any, kind: str):
    pixels = pictures(CHUNK + 7)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(1))
    plain, _ = build(kind)
    expected = features(plain, pixels)
    whole, single, mixed = (build(kind, feature_cache='memory')[0] for _ in range(3))
    torch.testing.assert_close(features(whole, pixels), expected, atol=1e-6, rtol=1e-5)
    alone = torch.cat([features(single, pixels[i : i + 1]) for i in range(len(pixels))])
    assert torch.equal(alone, features(whole, pixels))
    assert torch.equal(features(mixed, pixels[order]), alone[order])


def test_each_image_is_computed_once(build: Any):
    model, _ = build(feature_cache='memory')
    tower = model.model.vision_tower.forward
    first, second = pictures(2)
    features(model, torch.stack([first, second, first, first]))
    assert (tower.hits, tower.misses) == (2, 2)
    features(model, torch.stack([second, first]))
    assert (tower.hits, tower.misses) == (4, 2)
    features(model, (first + 1e-6)[None])
    assert tower.misses == 3


@pytest.mark.parametrize('kind', KINDS)
def test_loss_and_gradients_are_those_without_a_cache(build: Any, encode: Any, kind: str):
    losses, gradients = [], []
    for cache in (None, 'memory'):
        model, preprocessor = build(kind, feature_cache=cache)
        model.train()
        batch = Collator(preprocessor, 'right', training=True)([encode(preprocessor, 1, 2), encode(preprocessor, 3)])
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-6)
    for plain, cached in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, cached, atol=1e-5, rtol=1e-4)


def test_what_a_run_learns_in_inference_mode_can_be_trained_on(build: Any, encode: Any):
    """Evaluation comes first and fills the cache; the projector's gradient needs the features afterwards."""
    model, preprocessor = build(feature_cache='memory')
    batch = Collator(preprocessor, 'right', training=True)([encode(preprocessor, 1, 2)])
    with torch.inference_mode():
        model(**batch)
    model.train()
    model(**batch).loss.backward()
    assert model.model.multi_modal_projector.weight.grad.abs().sum() > 0


def test_precision_of_the_run_is_not_that_of_the_cache(build: Any):
    mixed, full = (build(feature_cache='memory')[0] for _ in range(2))
    pixels = pictures(3)
    with torch.autocast('cpu', torch.bfloat16):
        half = features(mixed, pixels)
    assert half.dtype == torch.float32
    assert torch.equal(half, features(full, pixels))


def test_a_tower_of_half_precision_takes_pixels_of_full(build: Any):
    model, _ = build('resnet_lfm2', dtype='bfloat16', feature_cache='memory')
    assert features(model, pictures(2)).dtype == torch.bfloat16


def test_keys_tell_every_pixel_and_every_layer(build: Any):
    image = torch.rand(3, 8, 8)
    for place in ((0, 0, 0), (1, 4, 3), (2, 7, 7)):
        other = image.clone()
        other[place] += 1
        assert content_key(other) != content_key(image)
    tower = build('clip_llama')[0].model.vision_tower
    assert fingerprint(tower, -1) != fingerprint(tower, -2)


def test_a_folder_lasts_but_not_for_other_weights(build: Any, tmp_path: Path):
    pixels = pictures(3)
    first, again, other = (build(feature_cache=str(tmp_path), seed=seed)[0] for seed in (1, 1, 2))
    expected = features(first, pixels)
    assert torch.equal(features(again, pixels), expected)
    assert again.model.vision_tower.forward.misses == 0
    assert not torch.equal(features(other, pixels), expected)
    assert other.model.vision_tower.forward.misses == 3
    assert not list(tmp_path.rglob('*.part'))


def test_weights_loaded_after_building_count(build: Any, tmp_path: Path):
    """A resumed run loads its checkpoint into a model that already has its cache."""
    source, _ = build(seed=2)
    resumed, _ = build(seed=1, feature_cache=str(tmp_path))
    resumed.load_state_dict(source.state_dict())
    pixels = pictures(2)
    torch.testing.assert_close(features(resumed, pixels), features(source, pixels), atol=1e-6, rtol=1e-5)
    late, _ = build(seed=2, feature_cache=str(tmp_path))
    features(late, pixels)
    assert late.model.vision_tower.forward.misses == 0


def test_a_damaged_file_is_named(build: Any, tmp_path: Path):
    first, again = (build(feature_cache=str(tmp_path))[0] for _ in range(2))
    features(first, pictures(1))
    (file,) = tmp_path.rglob('*.safetensors')
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match=file.name):
        features(again, pictures(1))


def test_memory_is_bounded_and_forgets_what_was_used_least_recently():
    store = FeatureStore(limit=3 * 40)
    for key in 'abc':
        store.put(key, torch.zeros(10))
    store.get('a')
    store.put('d', torch.zeros(10))
    assert sorted(store.features) == ['a', 'c', 'd']
    assert store.size == 120
    assert store.get('b') is None


def test_state_dict_keeps_its_names(build: Any):
    plain, cached = build()[0], build(feature_cache='memory')[0]
    assert plain.state_dict().keys() == cached.state_dict().keys()


def test_several_layers_are_refused(build: Any):
    model, _ = build()
    with pytest.raises(ValueError, match='keeps one layer'):
        cache_features(model.model.vision_tower, [-1, -2], 'memory')
