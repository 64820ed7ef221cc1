"""Every image reaches the answer, and nothing else does: batches, padding, cache, beams, gradients."""

import copy
import itertools

import pytest
import torch

from mllm.models.flamingo.cross_attention import MediaLayer
from mllm.models.flamingo.modeling import decoder_layers
from tests.models.flamingo.conftest import IMAGE, PAD, ids_of, logits_of, pixels_of

ROWS = ['aibcidei', 'aib', 'abc', 'iicd']
IMAGES = [[1, 2, 3], [4], [], [5, 6]]
STEPS = {'do_sample': False, 'eos_token_id': None, 'pad_token_id': PAD, 'suppress_tokens': [IMAGE]}


def test_every_image_moves_the_query(flamingo, kind: str):
    model = flamingo(kind)
    before = logits_of(model, ['aibcidefigh'], [[1, 2, 3]])[0][-1]
    for changed in range(3):
        images = [9 if place == changed else seed for place, seed in enumerate([1, 2, 3])]
        after = logits_of(model, ['aibcidefigh'], [images])[0][-1]
        assert (after - before).abs().max() > 1e-4, f'image {changed} does not reach the last token'


def test_text_before_an_image_does_not_see_it(flamingo):
    model = flamingo()
    first, second = (logits_of(model, ['abicd'], [[seed]])[0] for seed in (1, 2))
    assert torch.equal(first[:2], second[:2])
    assert not torch.allclose(first[2], second[2])


def test_the_last_image_alone_is_looked_at_or_all_of_them(flamingo):
    for immediate in (True, False):
        model = flamingo(only_attend_immediate_media=immediate)
        # Only the last block conditions and only the last layer follows, so what moves is what is looked at.
        model.cross_attention[0].attn_gate.data.zero_()
        first, second = (logits_of(model, ['iiab'], [[seed, 7]])[0][-1] for seed in (1, 2))
        hidden = [capture(model, 'iiab', [[seed, 7]]) for seed in (1, 2)]
        assert torch.equal(hidden[0][-1], hidden[1][-1]) == immediate
        assert not torch.equal(first, second)


def capture(model, row: str, images: list[list[int]]) -> torch.Tensor:
    """What the last cross-attention adds to the text [L, W]."""
    found = []
    hook = model.cross_attention[1].attn.register_forward_hook(lambda module, args, out: found.append(out[0]))
    given = torch.zeros(1, 4, 32)
    hook_in = model.cross_attention[1].attn.register_forward_pre_hook(lambda module, args: (given, *args[1:]))
    logits_of(model, [row], images)
    hook.remove()
    hook_in.remove()
    return found[0]


def test_a_row_is_computed_alone_as_in_any_batch(flamingo, kind: str):
    model = flamingo(kind)
    together = logits_of(model, ROWS * 2, IMAGES * 2)
    left = logits_of(model, ROWS * 2, IMAGES * 2, side='left')
    for number, (row, images) in enumerate(zip(ROWS * 2, IMAGES * 2, strict=True)):
        alone = logits_of(model, [row], [images])[0]
        torch.testing.assert_close(together[number], alone, rtol=0, atol=2e-5)
        torch.testing.assert_close(left[number], alone, rtol=0, atol=2e-5)


def test_steps_with_a_cache_are_those_without(flamingo, kind: str):
    model = flamingo(kind)
    ids, mask = ids_of(*ROWS, side='left')
    inputs = {'input_ids': ids, 'attention_mask': mask, 'pixel_values': pixels_of(*IMAGES), 'max_new_tokens': 6}
    cached, plain = (model.generate(**inputs, **STEPS, use_cache=use) for use in (True, False))
    assert torch.equal(cached, plain)
    assert model.given is None
    for row, images, found in zip(ROWS, IMAGES, cached, strict=True):
        ids, mask = ids_of(row)
        pixels = {'pixel_values': pixels_of(images)} if images else {}
        alone = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, **pixels, **STEPS)
        assert alone[0, -6:].tolist() == found[-6:].tolist()


@pytest.mark.parametrize('cut', range(1, 10))
def test_a_prompt_may_be_cut_anywhere_into_a_prefix_and_the_rest(flamingo, cut: int):
    model, row, images = flamingo(), 'aibicdeigf', [1, 2, 3]
    whole = logits_of(model, [row, row], [images, images])[0]
    (first, _), (second, _) = ids_of(row[:cut]), ids_of(row[cut:])
    before = row[:cut].count('i')
    given = [{'pixel_values': pixels_of(part)} if part else {} for part in (images[:before], images[before:])]
    with torch.no_grad():
        start = model(first, use_cache=True, **given[0])
        # Two queries on one prefix, which stays as it was.
        start.past_key_values.batch_repeat_interleave(2)
        pixels = {name: torch.cat([value, value]) for name, value in given[1].items()}
        end = model(second.repeat(2, 1), past_key_values=start.past_key_values, **pixels)
    for found in end.logits:
        torch.testing.assert_close(torch.cat([start.logits[0], found]), whole, rtol=0, atol=2e-5)


def test_rows_of_a_prefix_may_have_different_numbers_of_images(flamingo):
    model = flamingo()
    ids, mask = ids_of('ibic', 'abic')
    more, more_mask = ids_of('dief', 'gabc')
    with torch.no_grad():
        start = model(ids, mask, pixel_values=pixels_of([1, 2], [3]), use_cache=True)
        cache = start.past_key_values
        cache.reorder_cache(torch.tensor([1, 0]))
        mask = torch.cat([mask, more_mask], dim=1)
        end = model(more, mask, pixel_values=pixels_of([4], []), past_key_values=cache).logits
    whole = logits_of(model, ['abicdief', 'ibicgabc'], [[3, 4], [1, 2]])
    for found, wanted in zip(end, whole, strict=True):
        torch.testing.assert_close(found, wanted[4:], rtol=0, atol=2e-5)


def test_a_cache_that_is_cut_forgets_the_images_behind_the_cut(flamingo):
    model = flamingo()
    (ids, _), (rest, _) = ids_of('aibci'), ids_of('dief')
    with torch.no_grad():
        cache = model(ids, pixel_values=pixels_of([1, 2]), use_cache=True).past_key_values
        kept = copy.deepcopy(cache)
        cache.crop(-2)
        end = model(rest, past_key_values=cache, pixel_values=pixels_of([3])).logits[0]
        again = model(rest, past_key_values=kept, pixel_values=pixels_of([3])).logits[0]
    torch.testing.assert_close(end, logits_of(model, ['aibdief'], [[1, 3]])[0][3:], rtol=0, atol=2e-5)
    torch.testing.assert_close(again, logits_of(model, ['aibcidief'], [[1, 2, 3]])[0][5:], rtol=0, atol=2e-5)


def test_a_cache_that_is_reset_starts_anew(flamingo):
    model = flamingo()
    ids, _ = ids_of('aib')
    with torch.no_grad():
        cache = model(ids, pixel_values=pixels_of([1]), use_cache=True).past_key_values
    layer = MediaLayer.of(cache)
    assert layer is not None
    layer.reset()
    assert layer.left.tolist() == layer.last.tolist() == [0]


def beams_by_hand(model, row: str, images: list[int], beams: int, steps: int) -> tuple[list[int], float]:
    """Without a cache, every sequence computed from its beginning; the best one and its mean log-likelihood."""
    ids, _ = ids_of(row)
    held: list[tuple[list[int], float]] = [(ids[0].tolist(), 0.0)]
    for step in range(steps):
        grown = []
        for sequence, score in held:
            tokens = torch.tensor([sequence])
            with torch.no_grad():
                chances = model(tokens, pixel_values=pixels_of(images)).logits[0, -1].log_softmax(-1)
            chances[IMAGE] = -torch.inf
            grown += [([*sequence, token], score + value) for token, value in enumerate(chances.tolist())]
        held = sorted(grown, key=lambda entry: -entry[1])[: beams if step + 1 < steps else 1]
    return held[0]


def test_beams_over_rows_with_several_images_are_those_by_hand(flamingo):
    model = flamingo()
    rows, images = ['aibcide', 'iifg', 'gic'], [[1, 2], [3, 4], [5]]
    ids, mask = ids_of(*rows, side='left')
    found = model.generate(
        input_ids=ids,
        attention_mask=mask,
        pixel_values=pixels_of(*images),
        num_beams=3,
        max_new_tokens=4,
        **STEPS,
    )
    for row, seeds, sequence in zip(rows, images, found, strict=True):
        assert sequence[-4:].tolist() == beams_by_hand(model, row, seeds, 3, 4)[0][-4:]


def test_a_text_only_batch_trains_every_part_and_changes_nothing(flamingo):
    model = flamingo()
    with torch.no_grad():
        plain = logits_of(model, ['abc'], [[]])[0]
    model.train()
    ids, mask = ids_of('abc')
    logits = model(ids, mask).logits
    torch.testing.assert_close(logits[0], plain, rtol=0, atol=1e-6)
    logits.sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    # The class token and what only its output passes are not used by any image either.
    assert all(name.startswith('vision_tower.post_layernorm') for name in without), without
    touched = [name for name, parameter in model.perceiver.named_parameters() if parameter.grad.abs().sum() > 0]
    assert touched == []


def test_activation_checkpointing_gives_the_same_gradients(flamingo, kind: str):
    gradients = []
    for checkpointing in (False, True):
        model = flamingo(kind).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        ids, mask = ids_of(*ROWS)
        model(ids, mask, pixel_values=pixels_of(*IMAGES), use_cache=False).logits.square().mean().backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_a_frozen_tower_is_not_differentiated(flamingo):
    model = flamingo()
    model.vision_tower.requires_grad_(False)
    assert not model.vision_features(pixels_of([1]).flatten(0, 2)).requires_grad
    assert model.encode_images(pixels_of([1])).requires_grad


def test_image_tokens_may_be_normed_as_in_some_versions_of_open_clip(flamingo):
    plain, normed = flamingo(), flamingo(vision_post_layernorm=True)
    torch.nn.init.normal_(normed.vision_tower.post_layernorm.weight)
    pixels = pixels_of([1]).flatten(0, 2)
    wanted = normed.vision_tower.post_layernorm(plain.vision_features(pixels))
    torch.testing.assert_close(normed.vision_features(pixels), wanted)


def test_only_the_positions_asked_for_are_projected(flamingo, kind: str):
    model = flamingo(kind)
    ids, mask = ids_of(*ROWS)
    inputs = {'attention_mask': mask, 'pixel_values': pixels_of(*IMAGES)}
    with torch.no_grad():
        everything = model(ids, **inputs).logits
        some = model(ids, **inputs, logits_to_keep=torch.tensor([1, 4])).logits
        last = model(ids, **inputs, logits_to_keep=1).logits
    torch.testing.assert_close(some, everything[:, [1, 4]], rtol=0, atol=1e-6)
    torch.testing.assert_close(last, everything[:, -1:], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ('rows', 'images', 'message'),
    [
        (['aib', 'aibi'], [[1], [2]], 'row 1 of the batch has 2 <image> tokens for 1 images'),
        (['aib', 'aibi'], [[1, 3], [2, 4]], 'row 0 of the batch has 1 <image> tokens for 2 images'),
        (['abc'], [[1]], 'row 0 of the batch has 0 <image> tokens for 1 images'),
        (['aib'], [[]], r'\[1\] <image> tokens in the rows of a batch without images'),
    ],
)
def test_images_and_their_tokens_must_agree(flamingo, rows: list[str], images: list[list[int]], message: str):
    model = flamingo()
    ids, mask = ids_of(*rows)
    pixels = {'pixel_values': pixels_of(*images)} if any(images) else {}
    for call in (model, model.generate):
        with pytest.raises(ValueError, match=message):
            call(input_ids=ids, attention_mask=mask, **pixels)
    assert model.given is None


def test_counts_tell_an_image_of_zeros_from_none(flamingo):
    model = flamingo()
    ids, _ = ids_of('aibi')
    pixels = pixels_of([1, 2])
    pixels[0, 1] = 0
    with pytest.raises(ValueError, match='2 <image> tokens for 1 images'):
        model(ids, pixel_values=pixels)
    assert model(ids, pixel_values=pixels, media_counts=torch.tensor([2])).logits.isfinite().all()


def test_pixels_of_another_shape_are_refused(flamingo):
    ids, _ = ids_of('aib')
    with pytest.raises(ValueError, match=r'expected \[1, images, frames, 3, height, width\]'):
        flamingo()(ids, pixel_values=pixels_of([1])[0])


def test_a_failed_pass_leaves_nothing_behind(flamingo):
    model = flamingo()
    ids, _ = ids_of('aib')
    with pytest.raises(Exception):  # noqa: B017
        model(ids + 1000, attention_mask=torch.ones(1, 3))
    assert model.given is None
    assert logits_of(model, ['abc'], [[]])[0].isfinite().all()


def test_frames_of_a_video_have_their_own_embeddings(flamingo):
    model = flamingo(max_num_frames=4)
    ids, mask = ids_of('aib')
    pixels = pixels_of([1], frames=4)
    with torch.no_grad():
        forward, backward = (model(ids, mask, pixel_values=one).logits for one in (pixels, pixels.flip(2)))
    assert not torch.allclose(forward, backward)
    with pytest.raises(ValueError, match='5 frames in a video, but this model has embeddings for 4'):
        model(ids, mask, pixel_values=pixels_of([1], frames=5))


def test_legacy_cache_loses_the_images_after_the_prompt(flamingo):
    model = flamingo()
    ids, mask = ids_of('aibicd')
    pixels = pixels_of([1, 2])
    inputs = {'input_ids': ids, 'attention_mask': mask, 'pixel_values': pixels, 'max_new_tokens': 5}
    options = {**STEPS, 'return_dict_in_generate': True, 'output_logits': True}
    model.config.legacy_cache = True
    lost = model.generate(**inputs, **options)
    model.config.legacy_cache = False
    with torch.no_grad():
        kept = model(lost.sequences, pixel_values=pixels).logits[0, 5:-1]
        # By hand: what the cross-attention gives to tokens after the prompt is taken away.
        hooks = [block.attn.register_forward_hook(without_images_after(6)) for block in model.cross_attention]
        wanted = model(lost.sequences, pixel_values=pixels).logits[0, 5:-1]
    for hook in hooks:
        hook.remove()
    found = torch.cat(lost.logits)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    torch.testing.assert_close(found[0], kept[0], rtol=0, atol=2e-5)
    assert ((found[1:] - kept[1:]).abs().amax(-1) > 0.01).all()


def without_images_after(length: int):
    return lambda module, args, out: torch.cat([out[:, :length], 0 * out[:, length:]], dim=1)


def test_a_language_model_without_layers_is_refused(flamingo):
    model = flamingo()
    model.language_model.config.num_hidden_layers = 9
    with pytest.raises(ValueError, match='has no list of its 9 decoder layers'):
        decoder_layers(model.language_model)


def test_the_state_dict_has_every_tensor_once(flamingo, kind: str):
    own = flamingo(kind).state_dict()
    twice = [pair for pair in itertools.combinations(own, 2) if own[pair[0]].data_ptr() == own[pair[1]].data_ptr()]
    heads = {'language_model.lm_head.weight'}
    assert all(heads & set(pair) for pair in twice)
    assert {name.split('.')[0] for name in own} == {'vision_tower', 'perceiver', 'language_model', 'cross_attention'}
