"""Stage 3 of a sample's way: policies, functions (bank, index, shot, rng, **parameters) -> `Episode`.

    classes of the episode -> their labels -> query images -> `shot` supports per class -> order -> items

Every step draws from a generator of its own, so episodes with more shots, or under a control, ask the same queries:
the supports of k shots are the first k of each class's supports for more shots. No policy keeps state.
The texts are the published protocol of Link-Context Learning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np

from mllm.dataset.single_image_dataset.class_bank import ClassBank, ImageClass, IsekaiBank
from mllm.metric.link_context import ANSWER_TEMPLATE, LABEL_PLACEHOLDER
from mllm.registry import POLICIES, nearest
from mllm.types import Episode, RawItem, Turn
from mllm.utils.rng import ItemRng, item_rng

if TYPE_CHECKING:
    from PIL import Image

SUPPORT_QUESTION = '[BEGIN EXAMPLE] What is in the image <image>?'
SUPPORT_ANSWER = ANSWER_TEMPLATE + ' [END EXAMPLE]'
QUERY_QUESTION = 'Based on the previous examples, what is in the image <image>?'

NameKind = Literal['invented', 'real', 'mixed', 'permuted']
Names = NameKind | Mapping[str, float]
Negatives = Literal['hard', 'easy'] | float
SuperviseSupports = Literal['none', 'repeated']
Entry = TypeVar('Entry')


@dataclass(frozen=True)
class Draw:
    """What an episode shows and asks, before an image is read. Numbers are positions among the episode's classes.

    `originals` are the labels before a permutation, None without one.
    """

    names: str
    labels: list[str]
    originals: list[str] | None
    classes: list[str]
    supports: list[tuple[int, str]]
    queries: list[tuple[int, str]]
    """The first one is the episode's query, the others are asked before it."""


@POLICIES.register_module()
def link_context(
    bank: ClassBank,
    index: int,
    shot: int,
    rng: ItemRng,
    ways: int = 2,
    names: Names = 'mixed',
    negatives: Negatives = 'hard',
    queries: int = 1,
    word_length: Sequence[int] = (1, 10),
    query_questions: Sequence[str] = (QUERY_QUESTION,),
    supervise_supports: SuperviseSupports = 'none',
) -> Episode:
    """The class at `index` against `ways - 1` contrast classes, `shot` supports each; the query is of any of them.

    names              'invented' words for all classes, 'real' lower-cased names, 'mixed': an invented word for the
                       class at `index` and real names for the others (as in the paper), 'permuted': real names, each
                       given to another class; or a dict of probabilities over these
    negatives          contrast classes 'hard' (neighbours of the class; of n neighbours, weights n, n-1, ..., 1 by
                       similarity), 'easy' (any other class), or the probability of hard
    queries            questions on the same supports; all but one are `Episode.earlier_queries`
    word_length        fewest and most letters of an invented word
    query_questions    one is drawn per query
    supervise_supports 'repeated': support answers are learnt from the second occurrence of their label on

    A query image is none of the supports; with the bank's `distinct_groups`, no support of *any* class is of the
    group of a query, because a group seen with one class only would give the answer away. Supports repeat where a class
    has too few images. ValueError for parameters outside these, and where a bank cannot give such an episode.
    """
    if ways < 2 or queries < 1:
        raise ValueError(f'ways={ways}, queries={queries}: an episode needs at least 2 ways and 1 query')
    classes = [bank[position] for position in draw_classes(bank, index, ways, negatives, rng)]
    asked = [int(number) for number in rng('query_class').integers(ways, size=queries)]
    paths, groups = draw_queries(bank, classes, asked, rng)
    kind, labels, originals = draw_labels([item.label for item in classes], names, word_length, rng)
    supports = [
        (number, path)
        for number, item in enumerate(classes)
        for path in draw_supports(bank, item, shot, groups, rng(f'support/{number}'))
    ]
    shown = list(zip(asked, paths, strict=True))
    draw = Draw(kind, labels, originals, [item.name for item in classes], supports, shown)
    return compose(draw, bank.load, shot, rng, query_questions, supervise_supports)


@POLICIES.register_module()
def isekai(
    bank: IsekaiBank,
    index: int,
    shot: int,
    rng: ItemRng,
    names: Names = 'real',
    word_length: Sequence[int] = (1, 10),
    query_questions: Sequence[str] = (QUERY_QUESTION,),
    supervise_supports: SuperviseSupports = 'none',
) -> Episode:
    """The row at `index`: its query, the first `shot` images of its two lists.

    names: 'real' are the labels of the file (of which the positive is a coined word in ISEKAI), 'invented' replaces
    both, 'mixed' the positive one by a random word; otherwise as in `link_context`.
    """
    row = bank[index]
    short = [len(paths) for paths in row.supports if len(paths) < shot]
    if short:
        raise ValueError(f'{short[0]} supports beside the query, and shot is {shot}')
    kind, labels, originals = draw_labels(list(row.labels), names, word_length, rng)
    supports = [(number, path) for number in (0, 1) for path in row.supports[number][:shot]]
    queries = [(row.labels.index(row.label), row.query)]
    draw = Draw(kind, labels, originals, list(row.labels), supports, queries)
    return compose(draw, bank.load, shot, rng, query_questions, supervise_supports)


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
        taken = {bank.labels[position] for position in chosen}
        neighbours = bank[index].neighbours if generator.random() < hard else ()
        ranked = {
            position: len(neighbours) - rank
            for rank, position in enumerate(neighbours)
            if bank.labels[position] not in taken
        }
        options = ranked or {position: 1 for position, label in enumerate(bank.labels) if label not in taken}
        if not options:
            raise ValueError(f'{bank.filename} has only {len(chosen)} classes of different names, and ways is {ways}')
        weights = np.array(list(options.values()), dtype=float)
        chosen.append(list(options)[int(generator.choice(len(options), p=weights / weights.sum()))])
    return chosen


def draw_labels(
    real: list[str], names: Names, word_length: Sequence[int], rng: ItemRng
) -> tuple[str, list[str], list[str] | None]:
    """The kind of names drawn, a label per class, and the labels before a permutation (None without one)."""
    share: dict[str, float] = {names: 1.0} if isinstance(names, str) else dict(names)
    unknown = [name for name in share if name not in get_args(NameKind)]
    if unknown:
        raise ValueError(f'names={names!r}: there is no {unknown[0]!r}{nearest(unknown[0], get_args(NameKind))}')
    if min(share.values(), default=-1) < 0 or abs(sum(share.values()) - 1) > 1e-6:
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
    """Different words of random letters a-z, none of them in `taken`."""
    shortest, longest = length
    if not 1 <= shortest <= longest or 26**longest < 2 * (count + len(taken)):
        raise ValueError(f'word_length={tuple(length)}: expected (fewest, most) letters, enough for {count} words')
    words: list[str] = []
    while len(words) < count:
        letters = generator.integers(26, size=int(generator.integers(shortest, longest + 1)))
        word = ''.join(chr(ord('a') + int(letter)) for letter in letters)
        if word not in words and word not in taken:
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


def compose(
    draw: Draw,
    load: Callable[[str], Image.Image],
    shot: int,
    rng: ItemRng,
    query_questions: Sequence[str],
    supervise_supports: SuperviseSupports,
) -> Episode:
    """Read the images and write the turns. The order of supports depends on their set, not on the query."""
    if supervise_supports not in ('none', 'repeated'):
        raise ValueError(f"supervise_supports={supervise_supports!r}: expected 'none' or 'repeated'")
    key = support_key(draw.supports)
    by_path = sorted(draw.supports, key=lambda entry: entry[1])
    order = shuffled(by_path, item_rng(rng.seed, rng.epoch, 0, f'order/{key}'))
    support: list[RawItem] = []
    seen: set[int] = set()
    for number, path in order:
        learn = supervise_supports == 'repeated' and number in seen
        support.append(make_item(load(path), path, SUPPORT_QUESTION, SUPPORT_ANSWER, draw.labels[number], learn))
        seen.add(number)
    generator = rng('question')
    asked = []
    for number, path in draw.queries:
        question = query_questions[int(generator.integers(len(query_questions)))]
        asked.append(make_item(load(path), path, question, ANSWER_TEMPLATE, draw.labels[number], True))
    number, path = draw.queries[0]
    meta = {
        'label': draw.labels[number],
        'labels': list(draw.labels),
        'candidates': [write_label(ANSWER_TEMPLATE, label) for label in draw.labels],
        'class': draw.classes[number],
        'classes': draw.classes,
        'names': draw.names,
        'shot': shot,
        'image_path': path,
        'support': [{'image_path': path, 'label': draw.labels[number]} for number, path in order],
        'support_key': key,
    }
    if draw.originals is not None:
        meta['original_label'] = draw.originals[number]
    return Episode(asked[0], tuple(support), tuple(asked[1:]), meta)


def make_item(image: Image.Image, path: str, question: str, answer: str, label: str, supervised: bool) -> RawItem:
    """One question with its answer on an image."""
    turns: list[Turn] = [
        {'from': 'human', 'value': question},
        {'from': 'gpt', 'value': write_label(answer, label), 'supervised': supervised},
    ]
    return {'image': image, 'conversations': turns, 'meta': {'image_path': path, 'label': label}}


def write_label(template: str, label: str) -> str:
    return template.replace(LABEL_PLACEHOLDER, label)


def support_key(supports: Sequence[tuple[int, str]]) -> str:
    """A name of the support set (images by class), the same in every order and under every labelling."""
    by_class = sorted(sorted(path for number, path in supports if number == wanted) for wanted, _ in supports)
    return hashlib.blake2b(repr(by_class).encode(), digest_size=8).hexdigest()


def shuffled(entries: Sequence[Entry], generator: np.random.Generator) -> list[Entry]:
    """The entries in random order."""
    return [entries[int(position)] for position in generator.permutation(len(entries))]
