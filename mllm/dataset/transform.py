"""Stage 4 of a sample's way: image and target moved together. (image, target, rng) -> (image, target).

A model's own geometry (`Expand2square`) applies always, an augmentation (`RandomAffine`) in training alone.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from mllm.grounding.geometry import letterbox_offset, shift_boxes, shift_points
from mllm.registry import TRANSFORMS
from mllm.types import Target
from mllm.utils.rng import ItemRng, item_rng

Transformed = tuple[Image.Image, Target | None]


@TRANSFORMS.register_module()
class Expand2square:
    """Pads to the square that just holds the image, which stays in the middle (Shikra, LLaVA)."""

    def __init__(self, background: tuple[int, int, int] = (255, 255, 255)) -> None:
        self.background = tuple(background)

    def __call__(self, image: Image.Image, target: Target | None, rng: ItemRng | None = None) -> Transformed:
        left, top, side = letterbox_offset(*image.size)
        if image.width != image.height:
            square = Image.new('RGB', (side, side), self.background)
            square.paste(image, (left, top))
            image = square
        if target is None:
            return image, None
        return image, {
            'boxes': shift_boxes(target.get('boxes', []), left, top),
            'points': shift_points(target.get('points', []), left, top),
        }


@dataclass(frozen=True)
class Affine:
    """How pixels move: (x, y) -> matrix @ (x, y) + offset."""

    matrix: np.ndarray
    offset: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] -> [n, 2]."""
        return points @ self.matrix.T + self.offset

    def inverse_coefficients(self) -> tuple[float, ...]:
        """What PIL wants: output pixel -> input pixel, row by row."""
        inverse = np.linalg.inv(self.matrix)
        shift = -inverse @ self.offset
        return (*inverse[0], shift[0], *inverse[1], shift[1])


@TRANSFORMS.register_module()
class RandomAffine:
    """Scale, rotation, flip and shift, a pale background and brightness, in one of `views` renderings of each image.

    The rng chooses only the rendering; its parameters follow from the image's content and the rendering's number. So an
    image has `views` different looks in a whole training, and a cache of features by content finds them again.

    scale            least and largest, relative to the image
    degrees          largest rotation either way
    shift            largest shift, as a part of the image's size
    tint             how far a background channel may be below white, 0..1
    brightness       largest change of all pixels, as a part
    """

    def __init__(
        self,
        views: int = 4,
        scale: tuple[float, float] = (0.7, 1.05),
        degrees: float = 17.0,
        shift: float = 0.1,
        flip: bool = True,
        tint: float = 0.25,
        brightness: float = 0.15,
    ) -> None:
        if views < 1:
            raise ValueError(f'views={views}: expected at least 1; leave the augmentation out to have none')
        self.views = views
        self.scale, self.degrees, self.shift = tuple(scale), degrees, shift
        self.flip, self.tint, self.brightness = flip, tint, brightness

    def __call__(self, image: Image.Image, target: Target | None, rng: ItemRng | None) -> Transformed:
        if rng is None:
            return image, target
        digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
        content = int.from_bytes(digest, 'little')
        # One item's images must not all get the same rendering: the choice depends on the content too.
        view = int((rng('augment').integers(2**31) + content) % self.views)
        generator = item_rng(0, view, content, 'affine')
        affine = self.draw_affine(image.size, generator)
        image = image.transform(
            image.size,
            Image.Transform.AFFINE,
            affine.inverse_coefficients(),
            resample=Image.Resampling.BILINEAR,
            fillcolor=(255, 255, 255),
        )
        return self.colour(image, generator), move_target(target, affine, image.size)

    def draw_affine(self, size: tuple[int, int], generator: np.random.Generator) -> Affine:
        scale = generator.uniform(*self.scale)
        angle = math.radians(generator.uniform(-self.degrees, self.degrees))
        mirror = -1.0 if self.flip and generator.random() < 0.5 else 1.0
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = scale * turn @ np.diag([mirror, 1.0])
        centre = np.array(size) / 2
        shift = generator.uniform(-self.shift, self.shift, size=2) * np.array(size)
        return Affine(matrix, centre + shift - matrix @ centre)

    def colour(self, image: Image.Image, generator: np.random.Generator) -> Image.Image:
        """Multiplying by a pale colour tints white most and dark pixels least."""
        light = 1.0 - generator.uniform(0, self.brightness)
        pale = (1.0 - generator.uniform(0, self.tint, size=3)) * light * 255
        return ImageChops.multiply(image, Image.new('RGB', image.size, tuple(int(value) for value in pale)))


def move_target(target: Target | None, affine: Affine, size: tuple[int, int]) -> Target | None:
    """Boxes become the hull of their moved corners, cut to the image; points move along."""
    if target is None:
        return None
    width, height = size
    boxes: list[Any] = []
    for x0, y0, x1, y1 in target.get('boxes', []):
        corners = affine(np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], dtype=float))
        low, high = corners.min(axis=0), corners.max(axis=0)
        low, high = np.clip(low, 0, [width, height]), np.clip(high, 0, [width, height])
        boxes.append([*low.tolist(), *high.tolist()])
    moved = affine(np.array(target.get('points', []), dtype=float).reshape(-1, 2))
    return {'boxes': boxes, 'points': np.clip(moved, 0, [width, height]).tolist()}
