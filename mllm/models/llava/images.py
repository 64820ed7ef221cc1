"""Stage 7 of a sample's way, the images: PIL -> pixels for the tower, and the run of token ids each stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, CLIPImageProcessorPil, PreTrainedTokenizerBase

from mllm.models.hub import loading
from mllm.models.llava.arguments import LlavaArguments
from mllm.models.llava.legacy import old_config, tower_path
from mllm.models.tokens import find_file
from mllm.types import IMAGE_PLACEHOLDER

PATCH_TOKEN = '<im_patch>'
START_TOKEN, END_TOKEN = '<im_start>', '<im_end>'


def token_of_image(args: LlavaArguments, tokenizer: PreTrainedTokenizerBase) -> str:
    """The token whose places an image's features take: `<im_patch>`, or `<image>` in Hugging Face's own LLaVA models.

    Under image_splice='last_only' it is `<image>` always: images that do not reach the language model stand there as
    `<im_patch>`, which keeps its embedding.
    """
    known = tokenizer.get_vocab()
    patch = args.image_splice == 'all' and (PATCH_TOKEN in known or IMAGE_PLACEHOLDER not in known)
    return PATCH_TOKEN if patch else IMAGE_PLACEHOLDER


class ImageEncoder:
    """`encode_images` of the family's `Preprocessor`.

    side        images become squares of so many pixels
    run         ids of an image that reaches the language model
    plain_run   ids of one that does not, under image_splice='last_only': only the last image of a sequence does
    """

    def __init__(self, processor: Any, run: Sequence[int] = (), plain_run: Sequence[int] | None = None) -> None:
        self.processor = processor
        self.run = run
        self.plain_run = plain_run
        self.side = int(self.process([Image.new('RGB', (8, 8))]).shape[-1])
        self.values = byte_values(processor) if makes_squares(processor, self.side) else None

    def __call__(self, images: Sequence[Image.Image]) -> tuple[Tensor, list[list[int]]]:
        """n > 0 images -> pixels [n, 3, side, side] (of the last one alone under 'last_only') and n runs of ids."""
        shown = images if self.plain_run is None else images[-1:]
        hidden = len(images) - len(shown)
        return self.pixels(shown), [
            list(self.plain_run or ()) if n < hidden else list(self.run) for n in range(len(images))
        ]

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Images -> float32 [n, 3, side, side], as the processor makes them."""
        if self.values is None or any(image.width != image.height or image.mode != 'RGB' for image in images):
            return self.process(images)
        size = self.side, self.side
        squares = [image if image.size == size else image.resize(size, self.processor.resample) for image in images]
        channels = np.moveaxis(np.stack([np.asarray(square) for square in squares]), -1, 1)
        return torch.from_numpy(np.stack([values[channels[:, c]] for c, values in enumerate(self.values)], axis=1))

    def process(self, images: Sequence[Image.Image]) -> Tensor:
        return self.processor(list(images), return_tensors='pt')['pixel_values']


def makes_squares(processor: Any, side: int) -> bool:
    """Whether all the processor does to a square RGB image is to resize it to `side` and to normalise its values."""
    if type(processor) is not CLIPImageProcessorPil or not processor.do_resize:
        return False
    crop = [processor.crop_size['height'], processor.crop_size['width']] if processor.do_center_crop else [side, side]
    return processor.size.get('shortest_edge') == side and crop == [side, side]


def byte_values(processor: Any) -> np.ndarray:
    """What the processor makes of each byte in each channel, float32 [3, 256].

    The processor takes 0.2 to 0.4 ms for an image of 32 x 32 pixels, most of it not for its pixels; an episode has
    up to a dozen. Looked up in a table the same values come ten times faster.
    """
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert('RGB')
    pixels = processor([ramp], do_resize=False, do_center_crop=False, return_tensors='np')['pixel_values']
    return np.asarray(pixels, dtype=np.float32).reshape(3, 256)


def collate_images(images: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """The batch's images in the order of its rows: pixel_values [n, 3, H, W]; nothing if there are none."""
    given = [pixels for pixels in images if pixels is not None]
    return {'pixel_values': torch.cat(given)} if given else {}


def load_image_processor(args: LlavaArguments) -> Any:
    """The tower's own image processor; one to squares of `image_size` with pixels -1..1 where there is none."""
    key = 'model_name_or_path' if args.vision_tower is None else 'vision_tower'
    folder = getattr(args, key)
    if key == 'model_name_or_path' and folder is not None and (fields := old_config(folder)) is not None:
        # Old folders have none of their own, but those that were written here.
        folder = folder if find_file(folder, 'preprocessor_config.json') else tower_path(fields)
    if isinstance(folder, str):
        with loading(key, folder):
            return AutoImageProcessor.from_pretrained(folder, backend='pil')
    size, half = args.image_size, [0.5, 0.5, 0.5]
    return CLIPImageProcessorPil(size={'shortest_edge': size}, crop_size=size, image_mean=half, image_std=half)
