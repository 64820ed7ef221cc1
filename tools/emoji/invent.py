"""Stage 4 of the shipped emoji data: invented concepts nobody has a word for, and their ISEKAI-format questions.

An invented concept is a recipe: a body emoji A, a part emoji B (both from the *test* split), a layout (hat, inside,
side, ears, base) and a change of colour. The recipe is carried out in every art family with that family's own drawings
of A and B, and in each family VARIANTS times with the part slightly moved and scaled; so a family is to an invented
concept what it is to an ordinary one. Its label is a random word of four consonants, which no English word is spelt
like.

Every question comes as two rows with the same supports: one query of the invented (positive) class, one of the other
class, so the right answer is balanced. The other class is another invented concept (its word as label; invented.jsonl)
or an ordinary test emoji (its real name; invented_real_name.jsonl) that shares no CLDR subgroup with A or B: the
question is whether the link of picture and word was learnt, not whether a part can be told apart from its whole.
Supports never come from the query's family, and those of each list come from four different families.
"""

import itertools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import render
from concepts import Concept
from packages import Style
from PIL import Image

COUNT = 48
VARIANTS = 2
LIST_LENGTH = 4
KINDS = ('invented', 'invented_real_name')
_GROUPS = {'animals-nature', 'food-drink', 'travel-places', 'activities', 'objects'}
_WORD_LETTERS = 'bcdfghjklmnpqrstvwxz'
_HUES = (70, 110, 150, 190, 230, 270, 310)  # degrees; as many as have no divisor in common with the layouts
# layout -> boxes (left, top, right, bottom; 0..1) of the body and of each copy of the part, drawn in this order
_LAYOUTS = {
    'hat': [(0.1, 0.36, 0.9, 1.0), (0.2, 0.0, 0.8, 0.46)],
    'inside': [(0.0, 0.0, 1.0, 1.0), (0.24, 0.26, 0.78, 0.8)],
    'side': [(0.0, 0.22, 0.7, 1.0), (0.5, 0.0, 1.0, 0.56)],
    'ears': [(0.12, 0.26, 0.88, 1.0), (0.0, 0.0, 0.42, 0.42), (0.58, 0.0, 1.0, 0.42)],
    'base': [(0.16, 0.0, 0.84, 0.68), (0.0, 0.56, 0.48, 1.0), (0.52, 0.56, 1.0, 1.0)],
}


@dataclass(frozen=True)
class Recipe:
    """One invented concept: ``images`` maps an art family to the archive paths of its renderings."""

    word: str
    body: Concept
    part: Concept
    layout: str
    hue: int
    images: Mapping[str, list[str]]


def _styles(concept: Concept) -> list[Style]:
    """One style per family; the black-and-white one has no hue to rotate."""
    return sorted(style for style in concept.art if style[1] != 'mono')


def ingredients(test: list[Concept], families: set[str]) -> list[Concept]:
    """Test concepts drawn by every family as a thing with a body, not as a thin outline."""
    return [
        concept
        for concept in test
        if concept.group in _GROUPS
        and {family for family, _ in _styles(concept)} == families
        and all(_is_solid(render.rasterise(concept.art[style])) for style in _styles(concept))
    ]


def _is_solid(image: Image.Image) -> bool:
    return render.coverage(image) > 0.2


def invent(test: list[Concept], families: set[str], seed: int) -> tuple[list[Recipe], dict[str, bytes]]:
    """COUNT recipes, and the PNG of every rendering by archive path.

    Each ingredient is a body at most once and a part at most once. ValueError when there are too few ingredients.
    """
    pool = ingredients(test, families)
    if len(pool) < COUNT:
        raise ValueError(f'only {len(pool)} test concepts can be ingredients, {COUNT} invented concepts need as many')
    rng = random.Random(seed)
    bodies, parts = rng.sample(pool, COUNT), rng.sample(pool, COUNT)
    # A goat on a sheep would be no new thing: no body gets a part of its own subgroup.
    while any(body.subgroup == part.subgroup for body, part in zip(bodies, parts, strict=True)):
        rng.shuffle(parts)
    words = _words(rng)
    layouts = sorted(_LAYOUTS)
    recipes, members = [], {}
    for index, (body, part) in enumerate(zip(bodies, parts, strict=True)):
        images = {}
        hue, layout = _HUES[index % len(_HUES)], layouts[index % len(layouts)]
        moves = [(0.0, 0.0, 1.0)] + [_move(rng) for _ in range(VARIANTS - 1)]
        for family, style in _styles(body):
            paths = [f'{family}/invented-{style}/{words[index]}-{number}.png' for number in range(VARIANTS)]
            for path, move in zip(paths, moves, strict=True):
                picture = compose(body.art[family, style], _art_of(part, family), layout, hue, move)
                members[path] = render.encode(picture)
            images[family] = paths
        recipes.append(Recipe(words[index], body, part, layout, hue, images))
    return recipes, members


def _art_of(concept: Concept, family: str) -> str:
    return next(concept.art[style] for style in _styles(concept) if style[0] == family)


def _words(rng: random.Random) -> list[str]:
    words: list[str] = []
    while len(words) < COUNT:
        word = ''.join(rng.choice(_WORD_LETTERS) for _ in range(4))
        if word not in words:
            words.append(word)
    return words


def _move(rng: random.Random) -> tuple[float, float, float]:
    """Shift right, shift down (shares of the picture) and scale of the part."""
    return rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05), rng.uniform(0.88, 1.06)


def compose(body: str, part: str, layout: str, hue: int, move: tuple[float, float, float]) -> Image.Image:
    """RGBA picture of SIZE pixels: both SVGs fitted into the layout's boxes, then recoloured."""
    size = render.SIZE
    canvas = Image.new('RGBA', (size, size))
    right, down, scale = move
    for number, box in enumerate(_LAYOUTS[layout]):
        drawn = _cropped(body if number == 0 else part)
        if number > 0:
            box = _moved(box, right, down, scale)
        left, top, width, height = (round(v * size) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1]))
        factor = min(width / drawn.width, height / drawn.height)
        shape = (max(1, round(drawn.width * factor)), max(1, round(drawn.height * factor)))
        fitted = drawn.resize(shape, Image.Resampling.LANCZOS)
        layer = Image.new('RGBA', (size, size))
        layer.paste(fitted, (left + (width - shape[0]) // 2, top + (height - shape[1]) // 2))
        canvas = Image.alpha_composite(canvas, layer)
    return _recoloured(canvas, hue)


def _moved(box: tuple, right: float, down: float, scale: float) -> tuple:
    x, y = (box[0] + box[2]) / 2 + right, (box[1] + box[3]) / 2 + down
    half_width, half_height = (box[2] - box[0]) / 2 * scale, (box[3] - box[1]) / 2 * scale
    return x - half_width, y - half_height, x + half_width, y + half_height


def _cropped(svg: str) -> Image.Image:
    """The drawing at twice the final size without its empty margin."""
    drawn = render.rasterise(svg, 2 * render.SIZE)
    visible = Image.fromarray((np.asarray(drawn)[..., 3] > 32).astype(np.uint8))
    return drawn.crop(visible.getbbox())


def _recoloured(image: Image.Image, degrees: int) -> Image.Image:
    """All hues turned by ``degrees``, then a third of a wash with the turned red, so that greys have a colour too."""
    shift = round(degrees * 256 / 360)
    hue, saturation, value = image.convert('RGB').convert('HSV').split()
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    turned = Image.merge('HSV', (hue, saturation, value)).convert('RGB')
    ink = Image.new('HSV', (1, 1), (shift % 256, 255, 255)).convert('RGB').getpixel((0, 0))
    grey = np.asarray(turned.convert('L')).astype(int)[..., None]
    washed = (2 * np.asarray(turned).astype(int) + (grey + 64) * np.array(ink) // 319) // 3
    result = Image.fromarray(washed.astype(np.uint8))
    result.putalpha(image.getchannel('A'))
    return result


def questions(recipes: list[Recipe], test: list[dict], subgroups: dict[str, str], seed: int) -> dict[str, list[dict]]:
    """ISEKAI rows of each of KINDS, two per recipe and art family (see the module's docstring).

    ``test`` rows are in pair format. Contrast classes are taken in turn, so that all are used about equally often.
    """
    rng = random.Random(seed)
    families = sorted(recipes[0].images)
    plain = [(row['class_name'], _by_family(row['samples'])) for row in test]
    plain = [(name, images) for name, images in plain if set(images) == set(families)]
    rows: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    asked = Counter()
    for recipe in recipes:
        own = {recipe.body.subgroup, recipe.part.subgroup}
        others = [(other.word, other.images) for other in recipes if _differs(other, recipe)]
        relatives = [(name, images) for name, images in plain if subgroups[name] not in own]
        for family in families:
            for kind, choices in zip(KINDS, (others, relatives), strict=True):
                fewest = min(asked[name] for name, _ in choices)
                contrast = rng.choice([choice for choice in choices if asked[choice[0]] == fewest])
                asked[contrast[0]] += 1
                rows[kind] += _rows((recipe.word, recipe.images), contrast, family, rng)
    return rows


def _rows(positive: tuple, negative: tuple, family: str, rng: random.Random) -> list[dict]:
    """Two ISEKAI rows with the same supports, one asking about each side (name, images by family)."""
    supports = [_support(images, family, rng) for _, images in (positive, negative)]
    return [
        {
            'image_name': rng.choice(images[family]),
            'positive_list': supports[0],
            'negative_list': supports[1],
            'positive_promt': positive[0],
            'negative_promt': negative[0],
            'label_name': name,
        }
        for name, images in (positive, negative)
    ]


def _differs(one: Recipe, other: Recipe) -> bool:
    """No ingredient in common and another layout, so that no picture shows the same thing."""
    shared = {one.body.name, one.part.name} & {other.body.name, other.part.name}
    return not shared and one.layout != other.layout


def _by_family(paths: list[str]) -> dict[str, list[str]]:
    images: dict[str, list[str]] = {}
    for path in paths:
        images.setdefault(path.split('/')[0], []).append(path)
    return images


def _support(images: Mapping[str, list[str]], without: str, rng: random.Random) -> list[str]:
    """Up to LIST_LENGTH pictures of other families: one of each in random order, then second ones."""
    rest = {family: rng.sample(paths, len(paths)) for family, paths in images.items() if family != without}
    order = rng.sample(sorted(rest), len(rest))
    rounds = [[rest[family][turn] for family in order if turn < len(rest[family])] for turn in range(VARIANTS)]
    return list(itertools.chain(*rounds))[:LIST_LENGTH]
