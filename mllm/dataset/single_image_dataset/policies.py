"""Stage 3 of a sample's way: policies, functions (bank, index, shot, rng, **parameters) -> `Episode`.

    classes of the episode -> their labels -> query images -> `shot` supports per class -> order -> items

Every step draws from a generator of its own, so episodes with more shots, or under a control, ask the same queries:
the supports of k shots are the first k of each class's supports for more shots. No policy keeps state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.single_image_dataset.drawing import Material, Names, Negatives, draw_labels, draw_material
from mllm.dataset.single_image_dataset.episode_parts import QUERY_QUESTION, Draw, SuperviseSupports, compose
from mllm.dataset.single_image_dataset.query_bank import QueryBank
from mllm.registry import POLICIES
from mllm.types import Episode
from mllm.utils.rng import ItemRng


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
    texts: Mapping[str, str] | None = None,
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
    texts              what supports ask and say and queries answer, in place of the published protocol: `EpisodeTexts`

    A query image is none of the supports; with the bank's `distinct_groups`, no support of *any* class is of the
    group of a query, because a group seen with one class only would give the answer away. Supports repeat where a class
    has too few images. ValueError for parameters outside these, and where a bank cannot give such an episode.
    """
    material = draw_material(bank, index, shot, rng, ways, negatives, queries)
    return name_material(bank, material, shot, rng, names, word_length, query_questions, supervise_supports, texts)


def name_material(
    bank: ClassBank,
    material: Material,
    shot: int,
    rng: ItemRng,
    names: Names,
    word_length: Sequence[int],
    query_questions: Sequence[str],
    supervise_supports: SuperviseSupports = 'none',
    texts: Mapping[str, str] | None = None,
) -> Episode:
    """The episode that shows and asks the material under drawn labels; parameters as for `link_context`."""
    kind, labels, originals = draw_labels([item.label for item in material.classes], names, word_length, rng)
    classes = [item.title for item in material.classes]
    draw = Draw(kind, labels, originals, classes, material.supports, material.queries)
    return compose(draw, bank.load, shot, rng, query_questions, supervise_supports, texts)


@POLICIES.register_module()
def fixed_supports(
    bank: QueryBank,
    index: int,
    shot: int,
    rng: ItemRng,
    names: Names = 'real',
    word_length: Sequence[int] = (1, 10),
    query_questions: Sequence[str] = (QUERY_QUESTION,),
    supervise_supports: SuperviseSupports = 'none',
    texts: Mapping[str, str] | None = None,
) -> Episode:
    """The query at `index` with the first `shot` images of each of its lists, as published for ISEKAI and ImageNet-100.

    names: 'real' are the labels of the bank (in ISEKAI the positive one is a coined word), 'invented' replaces all,
    'mixed' the first one by a random word; otherwise as in `link_context`.
    """
    row = bank[index]
    short = [len(paths) for paths in row.supports if len(paths) < shot]
    if short:
        raise ValueError(f'{short[0]} supports beside the query, and shot is {shot}')
    kind, labels, originals = draw_labels(list(row.labels), names, word_length, rng)
    supports = [(number, path) for number, paths in enumerate(row.supports) for path in paths[:shot]]
    queries = [(row.labels.index(row.label), row.query)]
    draw = Draw(kind, labels, originals, list(row.classes), supports, queries)
    return compose(draw, bank.load, shot, rng, query_questions, supervise_supports, texts)
