"""Stage 1 of the emoji scenes: a few emoji on a background, and where they are.

A scene is a pure function of its generator. Things never touch, so a thing's box is the extent of what is seen of it.
"""

import io
import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
"""Scenes are squares of so many pixels."""
SIZES = (26, 43)
"""Side of a thing's picture before its empty margin is cut off, pixels: from, and below."""
OPAQUE = 76
"""A pixel belongs to a thing if its opacity, 0..255, is above this (0.3)."""
GAP = 1
TWICE, THRICE = 0.45, 0.1
"""Shares of the scenes in which one name stands for two, and for three things."""

# What things are called here -> the class name of the pair files.
PLAIN_NAMES = """
airplane balloon banana bell bicycle bus cactus crown doughnut eggplant elephant frog guitar hamburger house key lemon
mushroom octopus pear penguin pineapple pizza rocket rose snail spider star strawberry sunflower tent tractor tulip
turtle umbrella whale
"""
OTHER_NAMES = {'car': 'automobile', 'fish': 'tropical fish', 'heart': 'red heart', 'tree': 'deciduous tree'}
NAMES = {**{name: name for name in PLAIN_NAMES.split()}, **OTHER_NAMES}
STYLES = ('noto/std', 'twemoji/std', 'fluent/flat', 'noto-v1/std', 'emojione/std')
"""Art styles of the scenes; each name has at least three of them."""
UNSEEN_STYLE = 'fxemoji/std'
"""The art of one more test set, which no training scene shows."""

# Hue in degrees below which a colour has its name; from the last one on it is red again.
HUES = ((18, 'red'), (40, 'orange'), (66, 'yellow'), (165, 'green'), (260, 'blue'), (300, 'purple'), (345, 'pink'))
BROWN_BELOW, BLACK_BELOW, GREY_BELOW, WHITE_FROM = 160, 80, 45, 215
"""Brightness of brown and black, saturation of grey, brightness of white; all 0..255."""


@dataclass(frozen=True)
class Art:
    """One drawing of a name: RGBA without margin, and the share of each colour among its opaque pixels."""

    name: str
    style: str
    picture: Image.Image
    colours: dict[str, float]

    @property
    def colour(self) -> str:
        """The colour that covers most of it."""
        return max(self.colours, key=lambda colour: self.colours[colour])


@dataclass(frozen=True)
class Thing:
    """What stands in a scene; `box` is x0, y0, x1, y1 in pixels, x1 and y1 just outside."""

    art: Art
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return self.art.name

    @property
    def centre(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Scene:
    image: Image.Image
    things: tuple[Thing, ...]

    @property
    def layout(self) -> tuple[tuple[str, tuple[int, int, int, int]], ...]:
        """What stands where: two scenes of one layout ask and answer the same."""
        return tuple(sorted((thing.name, thing.box) for thing in self.things))


def read_art(folder: Path, styles: tuple[str, ...]) -> dict[str, list[Art]]:
    """The drawings of each name in some styles, from data/emoji; names without one are left out."""
    rows = [
        json.loads(line)
        for split in ('train', 'val', 'test')
        for line in (folder / f'{split}_pairs.jsonl').read_text().splitlines()
    ]
    samples = {row['class_name']: row['samples'] for row in rows}
    art: dict[str, list[Art]] = {}
    with zipfile.ZipFile(folder / 'images.zip') as archive:
        for name, concept in sorted(NAMES.items()):
            for path in samples[concept]:
                if (style := path.rsplit('/', 1)[0]) in styles:
                    picture = Image.open(io.BytesIO(archive.read(path))).convert('RGBA')
                    art.setdefault(name, []).append(Art(name, style, trim(picture), colour_shares(picture)))
    return art


def extent(picture: Image.Image) -> tuple[int, int, int, int]:
    """The box of the opaque pixels of an RGBA picture."""
    opaque = np.asarray(picture)[..., 3] > OPAQUE
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def trim(picture: Image.Image) -> Image.Image:
    """The picture without what is outside the extent of its opaque pixels."""
    return picture.crop(extent(picture))


def colour_shares(picture: Image.Image) -> dict[str, float]:
    """Share of the opaque pixels by the name of their colour."""
    opaque = np.asarray(picture)[..., 3] > OPAQUE
    pixels = np.asarray(picture.convert('RGB').convert('HSV'))[opaque].tolist()
    counts = Counter(colour_name(*pixel) for pixel in pixels)
    return {name: count / len(pixels) for name, count in counts.items()}


def colour_name(hue: int, saturation: int, value: int) -> str:
    """The name of a colour, HSV each 0..255."""
    if value < BLACK_BELOW:
        return 'black'
    if saturation < GREY_BELOW:
        return 'white' if value >= WHITE_FROM else 'gray'
    name = next((name for limit, name in HUES if hue * 360 / 255 < limit), 'red')
    return 'brown' if name in ('red', 'orange') and value < BROWN_BELOW else name


def draw_scene(rng: np.random.Generator, art: dict[str, list[Art]]) -> Scene:
    """Two to four things on a background."""
    while True:
        placed = place(rng, [pick(rng, art[name]) for name in draw_names(rng, sorted(art))])
        if placed is not None:
            break
    image = draw_background(rng)
    for thing, picture in placed:
        image.paste(picture, thing.box[:2], picture)
    return Scene(image, tuple(thing for thing, _ in placed))


def draw_names(rng: np.random.Generator, names: list[str]) -> list[str]:
    """Names of two to four things, the first of them two or three times in a share of the scenes."""
    count, draw = int(rng.integers(2, 5)), float(rng.random())
    same = 3 if draw < THRICE and count > 2 else 2 if draw < THRICE + TWICE else 1
    chosen = [names[int(number)] for number in rng.permutation(len(names))[:count]]
    return [chosen[0]] * (same - 1) + chosen[: count - same + 1]


def pick(rng: np.random.Generator, drawings: list[Art]) -> Art:
    return drawings[int(rng.integers(len(drawings)))]


def place(rng: np.random.Generator, drawings: list[Art]) -> list[tuple[Thing, Image.Image]] | None:
    """Each drawing scaled and put where it touches no other; None if no place is found for one."""
    placed: list[tuple[Thing, Image.Image]] = []
    for drawing in drawings:
        for _ in range(30):
            picture = scaled(drawing.picture, int(rng.integers(*SIZES)))
            x, y = (int(rng.integers(SIDE - length + 1)) for length in picture.size)
            box = (x, y, x + picture.width, y + picture.height)
            if all(apart(box, other.box) for other, _ in placed):
                placed.append((Thing(drawing, box), picture))
                break
        else:
            return None
    return placed


def scaled(picture: Image.Image, longest: int) -> Image.Image:
    """The picture with its longer side `longest` or a little shorter, without margin."""
    factor = longest / max(picture.size)
    size = tuple(max(1, round(length * factor)) for length in picture.size)
    return trim(picture.resize(size, Image.Resampling.LANCZOS))  # type: ignore[arg-type]


def apart(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether there is a gap between two boxes."""
    return any(box[n + 2] + GAP <= other[n] or other[n + 2] + GAP <= box[n] for n in (0, 1))


def draw_background(rng: np.random.Generator) -> Image.Image:
    """Blurred patches around a pale or a dark colour, with some noise."""
    base = rng.integers(150, 256, 3) if rng.random() < 0.7 else rng.integers(40, 140, 3)
    patches = np.clip(base + rng.normal(0, 18, (4, 4, 3)), 0, 255).astype(np.uint8)
    smooth = Image.fromarray(patches).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth).astype(float) + rng.normal(0, 3, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
