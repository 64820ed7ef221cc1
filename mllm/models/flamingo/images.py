"""Stage 7 of a sample's way, the images: PIL -> pixels [T, F, 3, H, W], and one token for each image or video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mllm.models.llava.images import ImageEncoder


class MediaEncoder:
    """`encode_images` of the family's `Preprocessor`: `frames` images in a row are one video with one token.

    The images of an item stand next to each other in its text, `<image>` once for each.
    """

    def __init__(self, processor: Any, token_id: int, frames: int = 1) -> None:
        self.encoder = ImageEncoder(processor)
        self.frames = frames
        self.runs = [[token_id], *([] for _ in range(frames - 1))]

    def __call__(self, images: Sequence[Image.Image]) -> tuple[Tensor, list[list[int]]]:
        """n > 0 images -> [n / frames, frames, 3, H, W] and n runs of ids, empty ones for later frames."""
        if len(images) % self.frames:
            raise ValueError(
                f'{len(images)} images are no whole number of videos of {self.frames} frames (model_args.video_frames)'
            )
        pixels = self.encoder.pixels(images).unflatten(0, (-1, self.frames))
        return pixels, [list(run) for run in self.runs * len(pixels)]


def collate_media(images: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """pixel_values [B, T, F, 3, H, W], zeros after a row's last image, and media_counts [B]; nothing without images."""
    given = [pixels for pixels in images if pixels is not None]
    if not given:
        return {}
    rows = [given[0][:0] if pixels is None else pixels for pixels in images]
    return {
        'pixel_values': pad_sequence(rows, batch_first=True),
        'media_counts': torch.tensor([len(row) for row in rows]),
    }
