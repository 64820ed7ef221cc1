"""The two limits in each processor's own words, and that they hold."""

from typing import Any

import pytest

from mllm.models.hf_vlm.limits import limits
from tests.models.hf_vlm.kinds import KINDS, picture

LARGE = picture(1, 200, 150)


def encoded(preprocessor: Any, *images: Any) -> tuple[dict[str, Any], list[str]]:
    found, texts = preprocessor.encode_images(list(images))
    return found.tensors, texts


@pytest.mark.parametrize('tiles', [1, 2, 4, None])
@pytest.mark.parametrize('model_type', [name for name in KINDS if not name.startswith(('qwen', 'gemma'))])
def test_tiles(model_type: str, tiles: int | None, preprocessor_of: Any):
    """Beside the tiles, each has a view of the whole image if there are several."""
    pixels = encoded(preprocessor_of(model_type, max_tiles=tiles), LARGE)[0]['pixel_values']
    count = pixels.shape[0] if model_type == 'internvl' else pixels.shape[1]
    most = 4 if tiles is None else tiles
    assert count <= most + 1
    if most == 4:
        assert count == 5
    if model_type != 'llava_onevision' and tiles == 1:
        assert count == 1


@pytest.mark.parametrize('model_type', ['qwen2_5_vl', 'qwen3_vl'])
def test_pixels(model_type: str, preprocessor_of: Any):
    counts = []
    for most in (16 * 16, 32 * 32, 48 * 48, None):
        tensors, [text] = encoded(preprocessor_of(model_type, max_pixels=most), LARGE)
        counts.append(int(tensors['image_grid_thw'].prod()) // 4)
        assert text == '<|image_pad|>' * counts[-1]
        assert counts[-1] * 256 <= (most or 48 * 48)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_values_of_the_image_processor_come_first(preprocessor_of: Any):
    own = preprocessor_of('internvl', max_tiles=1, image_processor={'crop_to_patches': True, 'max_patches': 2})
    assert len(encoded(own, picture(1, 200, 90))[0]['pixel_values']) == 3
    wide = preprocessor_of('gemma3', image_processor={'image_mean': [0.0, 0.0, 0.0]})
    assert encoded(wide, LARGE)[0]['pixel_values'].min() >= 0


def test_pan_and_scan(preprocessor_of: Any):
    options = {'pan_and_scan_min_crop_size': 16, 'pan_and_scan_min_ratio_to_activate': 1.0}
    texts = [
        encoded(preprocessor_of('gemma3', max_tiles=tiles, image_processor=options), picture(1, 128, 32))[1][0]
        for tiles in (1, 2, 4)
    ]
    assert [text.count('<start_of_image>') for text in texts] == [1, 3, 5]


def test_no_limit_changes_nothing(preprocessor_of: Any):
    for model_type in KINDS:
        assert limits(preprocessor_of(model_type).encode_images.processor.image_processor, None, None) == {}
