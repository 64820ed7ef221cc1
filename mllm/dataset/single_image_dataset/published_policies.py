"""Stage 3 of a sample's way: the policies of Link-Context Learning (arXiv 2308.07891), as the paper defines them.

    policy_2way, policy_2way_random, policy_2way_weight   the paper's [2-way], [2-way-random] and [2-way-weight]
    legacy_policy_2way_weight, ..._random_shot            the released code's, which swaps the names
    policy_2way_ref, policy_jigsaw, ref_or_weight         two more tasks of its mixture, with their defects repaired

`shot` counts images per class: the paper's "16-shot" is shot=8.
"""

from __future__ import annotations

from collections.abc import Sequence

from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.single_image_dataset.drawing import draw_material, draw_supports_again, draw_words
from mllm.dataset.single_image_dataset.episode_parts import (
    BEGIN_EXAMPLE,
    END_EXAMPLE,
    QUERY_QUESTION,
    make_item,
    support_key,
    support_meta,
    support_order,
)
from mllm.dataset.single_image_dataset.jigsaw import policy_jigsaw
from mllm.dataset.single_image_dataset.policies import link_context, name_material
from mllm.dataset.single_image_dataset.shots import draw_shot
from mllm.registry import POLICIES
from mllm.types import Episode
from mllm.utils.rng import ItemRng

__all__ = [
    'legacy_policy_2way_random_shot',
    'legacy_policy_2way_weight',
    'policy_2way',
    'policy_2way_random',
    'policy_2way_ref',
    'policy_2way_ref_or_weight',
    'policy_2way_weight',
    'policy_jigsaw',
]

LETTERS = (1, 10)
"""Fewest and most letters of an invented word."""
LEAST_REFERENCES = 3
"""Fewest supports per class of a reference episode, where `shot` allows as many."""

REFERENCE_QUESTION = f'{BEGIN_EXAMPLE} Tell me something about this image <image>.'
REFERENCE_ANSWER = f'The reference name of this image is "<name>". {END_EXAMPLE}'
REFERENCES_QUESTION = (
    'Which images in the previous example are in the same category as this image <image>? '
    '(Provide the answer in order as list)'
)


@POLICIES.register_module()
def policy_2way(
    bank: ClassBank, index: int, shot: int, rng: ItemRng, query_questions: Sequence[str] = (QUERY_QUESTION,)
) -> Episode:
    """[2-way]: `shot` images of the class at `index`, under an invented word, and of a neighbour, under its real name.

    The n-th of N neighbours is drawn with weight N + 1 - n (the paper's 101 - n for 100 neighbours; the released file
    has 36); the query is of either class with equal chance. Images are drawn without replacement while they last.
    """
    return link_context(bank, index, shot, rng, word_length=LETTERS, query_questions=query_questions)


@POLICIES.register_module()
def policy_2way_random(
    bank: ClassBank, index: int, shot: int, rng: ItemRng, query_questions: Sequence[str] = (QUERY_QUESTION,)
) -> Episode:
    """[2-way-random]: `policy_2way` with 1..`shot` images per class, each number equally often."""
    drawn = draw_shot({'type': 'uniform', 'low': 1, 'high': shot}, rng, 'policy_shot')
    return policy_2way(bank, index, drawn, rng, query_questions)


@POLICIES.register_module()
def policy_2way_weight(
    bank: ClassBank, index: int, shot: int, rng: ItemRng, query_questions: Sequence[str] = (QUERY_QUESTION,)
) -> Episode:
    """[2-way-weight]: `policy_2way` with j = 2, 4, ..., 2 * `shot` images in all, drawn with weight e^j."""
    # j images in all are s = j / 2 per class, so s has weight e^(2s).
    drawn = draw_shot({'type': 'weighted', 'low': 1, 'high': shot, 'rate': 2.0}, rng, 'policy_shot')
    return policy_2way(bank, index, drawn, rng, query_questions)


@POLICIES.register_module()
def legacy_policy_2way_weight(
    bank: ClassBank, index: int, shot: int, rng: ItemRng, query_questions: Sequence[str] = (QUERY_QUESTION,)
) -> Episode:
    """What the released code calls policy_2way_weight: [2-way] with supports drawn with replacement.

    As elsewhere, and unlike the release, the query is never one of its supports.
    """
    material = draw_material(bank, index, shot, rng, pick=draw_supports_again)
    return name_material(bank, material, shot, rng, 'mixed', LETTERS, query_questions)


@POLICIES.register_module()
def legacy_policy_2way_random_shot(
    bank: ClassBank, index: int, shot: int, rng: ItemRng, query_questions: Sequence[str] = (QUERY_QUESTION,)
) -> Episode:
    """What the released code calls policy_2way_random_shot: s in 1..`shot` images per class with weight e^(s/2)."""
    drawn = draw_shot({'type': 'weighted', 'low': 1, 'high': shot, 'rate': 0.5}, rng, 'policy_shot')
    return legacy_policy_2way_weight(bank, index, drawn, rng, query_questions)


@POLICIES.register_module()
def policy_2way_ref(bank: ClassBank, index: int, shot: int, rng: ItemRng) -> Episode:
    """Every support has a reference name of its own; the answer lists, in the order of the prompt, those of the
    supports that are of the query's class.

    3..`shot` images per class, each number equally often; `shot` where that is below 3. A name is a random word, `_`
    and a word R that the whole episode shares. The answer is a Python list, then `._R`: released checkpoints learnt
    that ending, so it stays. In the release the names are those of the other class; here they are the right ones.
    """
    drawn = draw_shot({'type': 'uniform', 'low': min(LEAST_REFERENCES, shot), 'high': shot}, rng, 'policy_shot')
    material = draw_material(bank, index, drawn, rng)
    order = support_order(material.supports, rng)
    mark, *words = draw_words(len(order) + 1, (), LETTERS, rng('words'))
    names = [f'{word}_{mark}' for word in words]
    support = [
        make_item(bank.load(path), path, REFERENCE_QUESTION, REFERENCE_ANSWER.replace('<name>', name), name, False)
        for (_, path), name in zip(order, names, strict=True)
    ]
    of_class = [
        [name for (number, _), name in zip(order, names, strict=True) if number == wanted]
        for wanted in range(len(material.classes))
    ]
    answers = [f'{listed}._{mark}' for listed in of_class]
    asked, path = material.queries[0]
    query = make_item(bank.load(path), path, REFERENCES_QUESTION, answers[asked], answers[asked])
    classes = [item.title for item in material.classes]
    meta = {
        'label': answers[asked],
        'labels': answers,
        'candidates': answers,
        'class': classes[asked],
        'classes': classes,
        'names': 'reference',
        'shot': drawn,
        **support_meta(support, query, support_key(order)),
    }
    return Episode(query, tuple(support), meta=meta, indivisible=True)


@POLICIES.register_module()
def policy_2way_ref_or_weight(
    bank: ClassBank, index: int, shot: int, rng: ItemRng, query_questions: Sequence[str] = (QUERY_QUESTION,)
) -> Episode:
    """A fair coin between `policy_2way_ref` and, as in the release, the fixed-shot `policy_2way`."""
    if rng('ref_or_weight').random() < 0.5:
        return policy_2way_ref(bank, index, shot, rng)
    return policy_2way(bank, index, shot, rng, query_questions)


POLICIES.register_module('ref_or_weight')(policy_2way_ref_or_weight)
