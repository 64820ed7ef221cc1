"""Stage 7 of a sample's way, the images of a model with a processor of its own: how much of a prompt each may fill.

Processors cut a large image into tiles or keep its resolution, which makes hundreds of tokens of each shot, or more.
`max_tiles` and `max_pixels` are the same two limits for all of them; here is what each kind of processor calls them.
"""

from __future__ import annotations

from math import isqrt
from typing import Any


def limits(image_processor: Any, max_tiles: int | None, max_pixels: int | None) -> dict[str, Any]:
    """Values for the arguments of an image processor that keep its images within both limits, None for no limit."""
    found: dict[str, Any] = {}
    for rules, limit in ((TILES, max_tiles), (PIXELS, max_pixels)):
        for argument, rule in rules.items():
            if limit is not None and argument in image_processor.valid_kwargs.__annotations__:
                found |= rule(image_processor, limit)
    return found


def crops(image_processor: Any, tiles: int) -> dict[str, Any]:
    """InternVL, GOT-OCR, Aya Vision: a grid of at most so many tiles, and a thumbnail."""
    return {
        'crop_to_patches': tiles > 1,
        'max_patches': tiles,
        'min_patches': min(image_processor.min_patches, tiles),
    }


def splitting(image_processor: Any, tiles: int) -> dict[str, Any]:
    """Idefics3 and SmolVLM: rows and columns of tiles, as many as the longest edge has room for, and a global view."""
    values: dict[str, Any] = {'do_image_splitting': tiles > 1}
    tile = getattr(image_processor, 'max_image_size', None)
    if tiles > 1 and tile:
        edge = min(image_processor.size['longest_edge'], isqrt(tiles) * tile['longest_edge'])
        values['size'] = {'longest_edge': edge}
    return values


def resolutions(image_processor: Any, tiles: int) -> dict[str, Any]:
    """LLaVA-NeXT and LLaVA-OneVision: a list of resolutions that images are fitted to."""
    size = image_processor.size
    edge = size.get('shortest_edge') or size['height']
    fitting = [pair for pair in image_processor.image_grid_pinpoints if pair[0] * pair[1] <= tiles * edge**2]
    return {'image_grid_pinpoints': fitting or [[edge, edge]]}


def pan_and_scan(image_processor: Any, tiles: int) -> dict[str, Any]:
    """Gemma 3: crops of long images, besides the whole."""
    return {'do_pan_and_scan': tiles > 1, 'pan_and_scan_max_num_crops': tiles}


def slices(image_processor: Any, tiles: int) -> dict[str, Any]:
    """MiniCPM-V: slices besides the whole."""
    return {'slice_mode': tiles > 1, 'max_slice_nums': tiles}


def area(image_processor: Any, pixels: int) -> dict[str, Any]:
    """Qwen-VL, GLM-4V and others with merged patches: the fewest and most pixels of an image."""
    size = image_processor.size
    return {'size': {key: min(size[key], pixels) for key in ('shortest_edge', 'longest_edge')}}


TILES = {
    'crop_to_patches': crops,
    'do_image_splitting': splitting,
    'image_grid_pinpoints': resolutions,
    'pan_and_scan_max_num_crops': pan_and_scan,
    'max_slice_nums': slices,
}
"""By an argument that image processors of the kind take."""
PIXELS = {'merge_size': area}
