"""Stage 3 of a sample's way, the drawing: each function takes what it needs of a bank and a generator of its own.

    classes of the episode -> query images -> supports per class -> labels

Nothing here reads an image or keeps state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

from mllm.dataset.single_image_dataset.class_bank import ClassBank, ImageClass
from mllm.metric.text import normalise_answer
from mllm.registry import nearest
from mllm.utils.rng import ItemRng

NameKind = Literal['invented', 'real', 'mixed', 'permuted']
Names = NameKind | Mapping[NameKind, float]
Negatives = Literal['hard', 'easy'] | float
Entry = TypeVar('Entry')


@dataclass(frozen=True)
class Material:
    """The classes of an episode with the images it shows. Numbers are positions among `classes`."""

    classes: list[ImageClass]
    supports: list[tuple[int, str]]
    queries: list[tuple[int, str]]


PickSupports = Callable[[ClassBank, ImageClass, int, set[str], np.random.Generator], list[str]]


def draw_material(
    bank: ClassBank,
    index: int,
    shot: int,
    rng: ItemRng,
    ways: int = 2,
    negatives: Negatives = 'hard',
    queries: int = 1,
    pick: PickSupports | None = None,
) -> Material:
    """The class at `index` first, its contrast classes, `queries` images of any of them, and `shot` supports of each.

    `pick` draws the supports of a class; by default each image once as long as they last.
    """
    if ways < 2 or queries < 1:
        raise ValueError(f'ways={ways}, queries={queries}: an episode needs at least 2 ways and 1 query')
    classes = [bank[position] for position in draw_classes(bank, index, ways, negatives, rng)]
    asked = [int(number) for number in rng('query_class').integers(ways, size=queries)]
    paths, groups = draw_queries(bank, classes, asked, rng)
    supports = [
        (number, path)
        for number, item in enumerate(classes)
        for path in (pick or draw_supports)(bank, item, shot, groups, rng(f'support/{number}'))
    ]
    return Material(classes, supports, list(zip(asked, paths, strict=True)))


def draw_classes(bank: ClassBank, index: int, ways: int, negatives: Negatives, rng: ItemRng) -> list[int]:
    """Positions of the episode's classes, `index` first; no two have the same label.

    A hard draw without a neighbour left is an easy one. ValueError if the bank has no neighbours or too few classes.
    """
    probabilities: Mapping[str | float, float] = {'hard': 1.0, 'easy': 0.0}
    hard = probabilities.get(negatives, negatives)
    if isinstance(hard, str) or not 0 <= hard <= 1:
        raise ValueError(f"negatives={negatives!r}: expected 'hard', 'easy' or the probability of hard, 0..1")
    if hard and not bank.has_neighbours:
        raise ValueError(f"{bank.filename}: no class has 'neighbors' to draw from; set negatives='easy'")
    generator = rng('classes')
    chosen = [index]
    while len(chosen) < ways:
        taken = {bank.names[position] for position in chosen}
        neighbours = bank[index].neighbours if generator.random() < hard else ()
        ranked = {
            position: len(neighbours) - rank
            for rank, position in enumerate(neighbours)
            if bank.names[position] not in taken
        }
        options = ranked or {position: 1 for position, name in enumerate(bank.names) if name not in taken}
        if not options:
            raise ValueError(f'{bank.filename} has only {len(chosen)} classes of different names, and ways is {ways}')
        weights = np.array(list(options.values()), dtype=float)
        chosen.append(list(options)[int(generator.choice(len(options), p=weights / weights.sum()))])
    return chosen


def draw_labels(
    real: list[str], names: Names, word_length: Sequence[int], rng: ItemRng
) -> tuple[str, list[str], list[str] | None]:
    """The kind of names drawn, a label per class, and the labels before a permutation (None without one)."""
    share: dict[str, float] = {names: 1.0} if isinstance(names, str) else {**names}
    unknown = [name for name in share if name not in get_args(NameKind)]
    if unknown:
        raise ValueError(f'names={names!r}: there is no {unknown[0]!r}{nearest(unknown[0], get_args(NameKind))}')
    if not min(share.values(), default=-1) >= 0 or not abs(sum(share.values()) - 1) <= 1e-6:  # NaN is neither
        raise ValueError(f'names={names!r}: expected probabilities that add up to 1')
    generator = rng('names')
    kind = list(share)[int(generator.choice(len(share), p=list(share.values())))]
    if kind == 'real':
        return kind, real, None
    if kind == 'permuted':
        turn = int(generator.integers(1, len(real)))
        return kind, real[turn:] + real[:turn], real
    words = draw_words(len(real) if kind == 'invented' else 1, real, word_length, rng('words'))
    return kind, words + real[len(words) :], None


def draw_words(count: int, taken: Sequence[str], length: Sequence[int], generator: np.random.Generator) -> list[str]:
    """Different words of random letters a-z, none of them the same answer as one of `taken`."""
    if len(length) != 2 or not 1 <= length[0] <= length[1]:
        raise ValueError(f'word_length={tuple(length)}: expected (fewest, most) letters with 1 <= fewest <= most')
    shortest, longest = length
    if 26**longest < 2 * (count + len(taken)):
        raise ValueError(f'word_length={tuple(length)}: there are not enough words of so few letters; raise the second')
    words: list[str] = []
    known = {normalise_answer(label) for label in taken}
    while len(words) < count:
        letters = generator.integers(26, size=int(generator.integers(shortest, longest + 1)))
        word = ''.join(chr(ord('a') + int(letter)) for letter in letters)
        if word not in words and word not in known:
            words.append(word)
    return words


def draw_queries(
    bank: ClassBank, classes: Sequence[ImageClass], asked: Sequence[int], rng: ItemRng
) -> tuple[list[str], set[str]]:
    """An image for each of `asked` (positions among `classes`), and the groups they take away from the supports.

    A query gets an image and a group of its own while every class keeps half of its groups for supports; beyond that
    queries share groups, and only at last an image. Does not depend on the number of shots.
    """
    stock = [{bank.group(path) for path in item.supports} for item in classes]
    paths: list[str] = []
    groups: set[str] = set()

    def cost(path: str) -> tuple[bool, ...]:
        group = bank.group(path)
        left = [len(kept - groups - {group}) for kept in stock]
        crowded = any(2 * rest < len(kept) for rest, kept in zip(left, stock))
        return min(left) == 0, path in paths, crowded and group not in groups, group in groups

    for number, position in enumerate(asked):
        images = shuffled(classes[position].queries, rng(f'query/{number}'))
        # An image without cost ends the search: classes may have a thousand images.
        free = (path for path in images if not any(cost(path)))
        path = next(free, None) or min(images, key=cost)
        if cost(path)[0]:
            names = ', '.join(repr(item.name) for item in classes)
            raise ValueError(f'the classes {names} have too few images: a query would leave one without supports')
        paths.append(path)
        groups.add(bank.group(path))
    return paths, groups


def draw_supports(
    bank: ClassBank, item: ImageClass, shot: int, groups: set[str], generator: np.random.Generator
) -> list[str]:
    """`shot` images of a class outside `groups`, each as often as any other (once, where there are enough)."""
    supports: list[str] = []
    while len(supports) < shot:
        supports += [path for path in shuffled(item.supports, generator) if bank.group(path) not in groups]
    return supports[:shot]


def draw_supports_again(
    bank: ClassBank, item: ImageClass, shot: int, groups: set[str], generator: np.random.Generator
) -> list[str]:
    """`shot` images of a class outside `groups`, drawn with replacement as in the released code."""
    free = [path for path in item.supports if bank.group(path) not in groups]
    return [free[int(position)] for position in generator.integers(len(free), size=shot)]


def shuffled(entries: Sequence[Entry], generator: np.random.Generator) -> list[Entry]:
    """The entries in random order."""
    return [entries[int(position)] for position in generator.permutation(len(entries))]
