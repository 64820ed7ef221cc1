"""Stage 4 of a sample's way: image and target moved together. (image, target, rng) -> (image, target).

A model's own geometry (`Expand2square`) applies always, an augmentation (`RandomAffine`) in training alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """How places move, in pixels: (x, y) -> (a x + b y + c, d x + e y + f)."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        return self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f

    def inverse(self) -> Affine:
        a, b, c, d, e, f = self.coefficients
        area = a * e - b * d
        return Affine(e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area)

    @property
    def coefficients(self) -> tuple[float, float, float, float, float, float]:
        return self.a, self.b, self.c, self.d, self.e, self.f


@TRANSFORMS.register_module()
class RandomAffine:
    """Scale, rotation, flip and shift, a pale background and less light: one of `views` renderings of each image.

    The rng chooses only the rendering; its parameters follow from the image's content and the rendering's number. So an
    image has `views` different looks in a whole training, and a cache of features by content finds them again.
    Nothing changes without rng or with `views=0`. An image also stays as it is where a point or the centre of a box
    would leave it: the answer could not be seen any more.

    scale            least and largest, relative to the image
    degrees          largest rotation either way
    shift            largest shift, as a part of the image's size
    flip             mirror half of the renderings left to right
    tint             how far a channel of the (white) background may be darkened, 0..1
    brightness       how far all channels together may be darkened, 0..1
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
        low, high = scale
        faults = [] if views >= 0 else [f'views={views}: expected 0 (no change) or more']
        faults += [] if 0 < low <= high else [f'scale={tuple(scale)}: expected (least, largest), both above 0']
        for name, value, limit in (('degrees', degrees, 180), ('shift', shift, 1), ('tint', tint, 1)):
            faults += [] if 0 <= value <= limit else [f'{name}={value}: expected 0 to {limit}']
        faults += [] if 0 <= brightness <= 1 else [f'brightness={brightness}: expected 0 to 1']
        if faults:
            raise ValueError('RandomAffine: ' + '; '.join(faults))
        self.views, self.scale, self.degrees, self.shift = views, (low, high), degrees, shift
        self.flip, self.tint, self.brightness = flip, tint, brightness

    def __call__(self, image: Image.Image, target: Target | None, rng: ItemRng | None = None) -> Transformed:
        if rng is None or self.views == 0:
            return image, target
        content = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), 'little')
        # All images of an episode share the rng: with their content added, they do not all get the same rendering.
        view = (int(rng('augment').integers(2**31)) + content) % self.views
        draws = item_rng(0, view, content, 'affine').random(9).tolist()
        affine = self.affine(image.size, draws[:5])
        if not stays_in_view(target, affine, image.size):
            return image, target
        moved = image.transform(
            image.size,
            Image.Transform.AFFINE,
            affine.inverse().coefficients,  # PIL asks for each pixel where it comes from
            resample=Image.Resampling.BILINEAR,
            fillcolor=(255, 255, 255),
        )
        return self.colour(moved, draws[5:]), move_target(target, affine, image.size)

    def affine(self, size: tuple[int, int], draws: Sequence[float]) -> Affine:
        """The movement about the image's centre; five `draws` of 0..1."""
        low, high = self.scale
        scale = low + (high - low) * draws[0]
        angle = math.radians(self.degrees * (2 * draws[1] - 1))
        mirror = -1.0 if self.flip and draws[2] < 0.5 else 1.0
        a, b = scale * math.cos(angle) * mirror, -scale * math.sin(angle)
        d, e = scale * math.sin(angle) * mirror, scale * math.cos(angle)
        (width, height), x, y = size, size[0] / 2, size[1] / 2
        dx, dy = (self.shift * (2 * draw - 1) for draw in draws[3:5])
        return Affine(a, b, x + dx * width - a * x - b * y, d, e, y + dy * height - d * x - e * y)

    def colour(self, image: Image.Image, draws: Sequence[float]) -> Image.Image:
        """Multiplying by a pale colour tints white most and dark pixels least; four `draws` of 0..1."""
        light = 255 * (1 - self.brightness * draws[0])
        pale = tuple(round(light * (1 - self.tint * draw)) for draw in draws[1:4])
        return ImageChops.multiply(image, Image.new('RGB', image.size, pale))


def stays_in_view(target: Target | None, affine: Affine, size: tuple[int, int]) -> bool:
    """Whether all points and the centres of all boxes are still in the image."""
    target = target or {}
    places = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in target.get('boxes', [])]
    places += [(x, y) for x, y in target.get('points', [])]
    moved = [affine(x, y) for x, y in places]
    return all(0 <= x <= size[0] and 0 <= y <= size[1] for x, y in moved)


def move_target(target: Target | None, affine: Affine, size: tuple[int, int]) -> Target | None:
    """Boxes become the upright hull of their four moved corners, cut to the image; points move along."""
    if target is None:
        return None
    boxes = []
    for x0, y0, x1, y1 in target.get('boxes', []):
        xs, ys = zip(*(affine(x, y) for x in (x0, x1) for y in (y0, y1)), strict=True)
        boxes.append([max(min(xs), 0.0), max(min(ys), 0.0), min(max(xs), size[0]), min(max(ys), size[1])])
    return {'boxes': boxes, 'points': [list(affine(x, y)) for x, y in target.get('points', [])]}
