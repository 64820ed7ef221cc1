"""Stage 7 of a sample's way, the images of a model with a processor of its own: PIL -> its tensors and its text.

What a processor makes of a few blank images tells the rest: which of its tensors have one entry per image (or tile) and
are joined, which have a row per sample and are padded, and which further inputs the model wants for each token.
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
    per_row     names of tensors [1, n, ...]; the others are [n, ...] or have one entry for each tile or patch
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
        self.per_row = frozenset(key for key in two if key not in TEXT_KEYS and is_per_row(one[key], two[key]))
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
        for key, example in given[0].tensors.items():
            if key in self.per_row:
                none = example[:, :0]
                batch[key] = join([none if row is None else row.tensors[key] for row in rows])
            else:
                batch[key] = join([row.tensors[key] for row in given])
        return batch


def is_per_row(one: Tensor, two: Tensor) -> bool:
    """Whether a tensor that is `one` for an image and `two` for two counts images on its second axis."""
    return two.ndim > 1 and one.shape[0] == two.shape[0] == 1 and two.shape[1] == 2 * one.shape[1]


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one after the other on the first axis, filled up with zeros on the others."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    return torch.cat([padded(tensor, shape) for tensor in tensors])


def padded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor [n, ...] with zeros at the end of each axis but the first, up to `shape`."""
    if list(tensor.shape[1:]) == list(shape):
        return tensor
    filled = tensor.new_zeros((len(tensor), *shape))
    filled[(slice(None), *map(slice, tensor.shape[1:]))] = tensor
    return filled


def image_token_id(processor: Any) -> int:
    """The id that an image's embeddings replace; some processors name a mark before them their image token."""
    ids = processor.image_token_ids
    return processor.image_token_id if processor.image_token_id in ids else ids[0]
