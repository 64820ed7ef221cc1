"""PIL images become the pixels the tower's own processor would make, and runs of ids."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil

from mllm.models.builder import load_preprocessor
from mllm.models.llava.images import ImageEncoder, collate_images

CLIP = CLIPImageProcessorPil(size={'shortest_edge': 32}, crop_size=32)
HALF = CLIPImageProcessorPil(size={'shortest_edge': 24}, crop_size=24, image_mean=[0.5] * 3, image_std=[0.5] * 3)
CROPS = CLIPImageProcessorPil(size={'shortest_edge': 40}, crop_size=32)
ENCODERS = [ImageEncoder(processor, [7]) for processor in (CLIP, HALF, CROPS)]


def picture(width: int, height: int, seed: int = 0, mode: str = 'RGB') -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@settings(max_examples=40, deadline=None)
@given(
    encoder=st.sampled_from(ENCODERS),
    sizes=st.lists(st.tuples(st.integers(3, 90), st.integers(3, 90), st.booleans()), min_size=1, max_size=4),
    mode=st.sampled_from(['RGB', 'L', 'P']),
)
def test_pixels_are_those_of_the_processor(encoder: ImageEncoder, sizes: list[tuple[int, int, bool]], mode: str):
    images = [picture(width, width if square else height, width, mode) for width, height, square in sizes]
    pixels, runs = encoder(images)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert torch.equal(pixels, encoder.processor(images, return_tensors='pt')['pixel_values'])
    assert runs == [[7]] * len(images)


def test_square_images_take_the_short_way_and_no_others_do():
    """A processor that would crop is not replaced by the table; the two that would not are."""
    assert [encoder.values is not None for encoder in ENCODERS] == [True, True, False]


def test_last_only_shows_the_last_image_and_hides_the_others_behind_plain_tokens():
    encoder = ImageEncoder(CLIP, [7, 7], [8, 8])
    images = [picture(32, 32, seed) for seed in range(3)]
    pixels, runs = encoder(images)
    assert runs == [[8, 8], [8, 8], [7, 7]]
    assert torch.equal(pixels, ImageEncoder(CLIP)(images[2:])[0])
    assert encoder(images[:1])[1] == [[7, 7]]


def test_runs_of_different_images_are_different_lists():
    _, runs = ENCODERS[0]([picture(32, 32), picture(32, 32)])
    runs[0].append(1)
    assert runs[1] == [7]


def test_images_of_a_batch_follow_its_rows():
    first, second = torch.zeros(2, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert torch.equal(collate_images([first, None, second])['pixel_values'], torch.cat([first, second]))
    assert collate_images([None, None]) == {}


@pytest.mark.parametrize(
    ('kind', 'changes', 'run'),
    [
        ('clip_llama', {}, ['<im_patch>'] * 4),
        ('clip_llama', {'mm_vision_select_feature': 'full'}, ['<im_patch>'] * 5),
        ('clip_llama', {'mm_use_im_start_end': True}, ['<im_start>', *['<im_patch>'] * 4, '<im_end>']),
        ('clip_llama', {'projector': 'pool', 'projector_args': {'num_tokens': 3}}, ['<im_patch>'] * 3),
        ('resnet_lfm2', {}, ['<im_patch>'] * 2),
        ('resnet_lfm2', {'projector': 'linear', 'projector_args': {}}, ['<im_patch>'] * 16),
    ],
)
def test_an_image_stands_as_many_tokens_as_the_tower_has_features(model_args: Any, kind: str, changes: Any, run: Any):
    preprocessor = load_preprocessor(model_args(kind, **changes))
    _, runs = preprocessor.encode_images([picture(50, 50)])
    assert preprocessor.tokenizer.convert_ids_to_tokens(runs[0]) == run
