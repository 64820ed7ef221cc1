"""Stage 7 of a sample's way, the images: PIL -> pixels for the tower, and the run of token ids each stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessorPil

from mllm.models.llava.arguments import LlavaArguments


@dataclass(frozen=True)
class ImageEncoder:
    """`encode_images` of the family's `Preprocessor`.

    run         ids of an image that reaches the language model
    plain_run   ids of one that does not, under image_splice='last_only': only the last image of a sequence does
    """

    processor: Any
    run: list[int]
    plain_run: list[int] | None = None

    def __call__(self, images: Sequence[Image.Image]) -> tuple[Tensor, list[list[int]]]:
        """n images -> pixels [n, 3, H, W] (of the last one alone under 'last_only') and n runs of ids."""
        shown = images if self.plain_run is None else images[-1:]
        pixels = self.processor(list(shown), return_tensors='pt')['pixel_values']
        hidden = [self.plain_run] * (len(images) - len(shown)) if self.plain_run else []
        return pixels, [list(run) for run in (*hidden, *[self.run] * len(shown))]


def collate_images(images: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """The batch's images in the order of its rows: pixel_values [n, 3, H, W]; nothing if there are none."""
    given = [pixels for pixels in images if pixels is not None]
    return {'pixel_values': torch.cat(given)} if given else {}


def load_image_processor(args: LlavaArguments) -> Any:
    """The tower's own image processor; one to squares of `image_size` with pixels -1..1 where the tower is drawn."""
    folder = args.vision_tower if isinstance(args.vision_tower, str) else None
    if args.vision_tower is None:
        folder = args.model_name_or_path
    if folder is not None:
        return CLIPImageProcessorPil.from_pretrained(folder)
    size, half = args.image_size, [0.5, 0.5, 0.5]
    return CLIPImageProcessorPil(size={'shortest_edge': size}, crop_size=size, image_mean=half, image_std=half)
