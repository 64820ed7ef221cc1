"""Stage 7 of a sample's way, the images of a model with a processor of its own: PIL -> its tensors and its text.

What a processor makes of one blank image and of two tells the rest: on which axis each of its tensors counts images (or
tiles, or patches), hence how samples are put together, and which further inputs the model wants for each token.

    [n, ...]        images of all samples one after the other       Qwen-VL, InternVL, Gemma 3, LLaVA
    [1, n, ...]     a row for each sample, filled up with zeros     Idefics2, Idefics3, SmolVLM
    [1, .., n]      one after the other on that axis                MiniCPM-V
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mllm.types import TokenInputs

TOKEN_KEYS = ('mm_token_type_ids', 'token_type_ids')
"""Inputs of a processor for each token, 0 on text: which tokens are of images."""
TEXT_KEYS = ('input_ids', 'attention_mask', *TOKEN_KEYS)
PER_TOKEN_IMAGES = ('cross_attention_mask', 'image_attention_mask')
"""Inputs for each token and each image, of models whose images are no part of the sequence."""
ROW_AXIS = 1
PROBE_SIDE = 64
"""Side of the blank images, in pixels."""


@dataclass(frozen=True)
class EncodedImages:
    """The images of a sample: how many, and the processor's tensors for all of them."""

    count: int
    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return self.count


class ImageEncoder:
    """`encode_images` and `collate_images` of the family's `Preprocessor`.

    arguments   go to the image processor at each call
    axes        by name of a tensor, the axis that counts images; 1 means a row for each sample
    """

    def __init__(self, processor: Any, arguments: Mapping[str, Any]) -> None:
        self.processor = processor
        self.arguments = dict(arguments)
        one, two = (self.process([self.blank()] * count) for count in (1, 2))
        if found := [key for key in PER_TOKEN_IMAGES if key in two]:
            raise ValueError(
                f'{type(processor).__name__} makes {found[0]}: models that look at images from beside the sequence are '
                'not among those of hf_vlm'
            )
        self.axes = {key: growing_axis(one[key], two[key]) for key in two if key not in TEXT_KEYS}
        self.token_key = next((key for key in TOKEN_KEYS if key in two and two[key].any()), None)

    def __call__(self, images: Sequence[Image.Image]) -> tuple[EncodedImages, list[str]]:
        """n > 0 images -> the tensors of all, and the text that stands for each."""
        tensors = {key: value for key, value in self.process(images).items() if key not in TEXT_KEYS}
        texts = list(self.processor.image_texts)
        if len(texts) != len(images):
            raise ValueError(f'{type(self.processor).__name__} does not say what stands for an image in the text')
        return EncodedImages(len(images), tensors), texts

    def process(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        outputs = self.processor(
            images=[list(images)],
            text=[self.processor.image_token * len(images)],
            images_kwargs=self.arguments,
            return_tensors='pt',
        )
        return {key: value for key, value in outputs.items() if isinstance(value, Tensor)}

    def blank(self) -> Image.Image:
        return Image.new('RGB', (PROBE_SIDE, PROBE_SIDE))

    @property
    def token_inputs(self) -> TokenInputs | None:
        """What the model wants for each token, if anything."""
        return self.token_types if self.token_key else None

    def token_types(self, ids: Sequence[int]) -> dict[str, list[int]]:
        [types] = self.processor.create_mm_token_type_ids([list(ids)])
        return {str(self.token_key): types}

    def collate(self, rows: Sequence[EncodedImages | None]) -> dict[str, Tensor]:
        """The batch's images in the order of its rows; nothing if there are none.

        A sample without images has a row of its own only in tensors that have one for each sample: of zeros, which
        such models take for padding.
        """
        given = [row for row in rows if row is not None]
        if not given:
            return {}
        batch = {}
        for key, axis in self.axes.items():
            if axis == ROW_AXIS:
                none = given[0].tensors[key][:, :0]
                batch[key] = join([none if row is None else row.tensors[key] for row in rows], axis=0)
            else:
                batch[key] = join([row.tensors[key] for row in given], axis)
        return batch


def growing_axis(one: Tensor, two: Tensor) -> int:
    """The axis that counts images in a tensor that is `one` for an image and `two` for two; 0 if none grows."""
    grown = [axis for axis, (size, twice) in enumerate(zip(one.shape, two.shape, strict=True)) if twice == 2 * size]
    return grown[0] if grown else 0


def join(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors one after the other on an axis, filled up with zeros on the others."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    return torch.cat([padded(tensor, shape, axis) for tensor in tensors], dim=axis)


def padded(tensor: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """A tensor with zeros at the end of each axis but one, up to `shape`."""
    wanted = [*shape[:axis], tensor.shape[axis], *shape[axis + 1 :]]
    if list(tensor.shape) == wanted:
        return tensor
    filled = tensor.new_zeros(wanted)
    filled[tuple(map(slice, tensor.shape))] = tensor
    return filled


def image_token_id(processor: Any) -> int:
    """The id that an image's embeddings replace; some processors name a mark before them their image token."""
    ids = processor.image_token_ids
    return processor.image_token_id if processor.image_token_id in ids else ids[0]
