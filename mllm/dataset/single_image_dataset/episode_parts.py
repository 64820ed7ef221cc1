"""Stage 3 of a sample's way, the writing: what was drawn -> items with texts and images -> `Episode`.

The texts of link-context episodes are the published protocol of Link-Context Learning, unless a config gives others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from mllm.dataset.single_image_dataset.drawing import shuffled
from mllm.metric.link_context import ANSWER_TEMPLATE, LABEL_PLACEHOLDER
from mllm.registry import nearest
from mllm.types import IMAGE_PLACEHOLDER, Episode, RawItem, Turn
from mllm.utils.rng import ItemRng, item_rng

if TYPE_CHECKING:
    from PIL import Image

BEGIN_EXAMPLE, END_EXAMPLE = '[BEGIN EXAMPLE]', '[END EXAMPLE]'
SUPPORT_QUESTION = f'{BEGIN_EXAMPLE} What is in the image <image>?'
SUPPORT_ANSWER = f'{ANSWER_TEMPLATE} {END_EXAMPLE}'
QUERY_QUESTION = 'Based on the previous examples, what is in the image <image>?'

SuperviseSupports = Literal['none', 'repeated']


@dataclass(frozen=True)
class EpisodeTexts:
    """What the items of an episode say; by default the published protocol. ValueError for a missing placeholder.

    support_question    with <image> once
    support_answer      with <label> once
    answer              that of queries, with <label> once
    """

    support_question: str = SUPPORT_QUESTION
    support_answer: str = SUPPORT_ANSWER
    answer: str = ANSWER_TEMPLATE

    def __post_init__(self) -> None:
        wanted = (
            ('support_question', IMAGE_PLACEHOLDER),
            ('support_answer', LABEL_PLACEHOLDER),
            ('answer', LABEL_PLACEHOLDER),
        )
        faults = [
            f'texts.{name}={getattr(self, name)!r} needs {placeholder} exactly once'
            for name, placeholder in wanted
            if getattr(self, name).count(placeholder) != 1
        ]
        if faults:
            raise ValueError('; '.join(faults))


def episode_texts(texts: Mapping[str, str] | None) -> EpisodeTexts:
    """The texts that a config gives, in place of those of the published protocol; ValueError for other keys."""
    known = [field.name for field in fields(EpisodeTexts)]
    unknown = [
        f'texts.{name}: there is no such text{nearest(name, known)}' for name in texts or {} if name not in known
    ]
    if unknown:
        raise ValueError('; '.join(unknown))
    return EpisodeTexts(**(texts or {}))


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


def compose(
    draw: Draw,
    load: Callable[[str], Image.Image],
    shot: int,
    rng: ItemRng,
    query_questions: Sequence[str],
    supervise_supports: SuperviseSupports,
    texts: Mapping[str, str] | None = None,
) -> Episode:
    """Read the images and write the turns. The order of supports depends on their set, not on the query."""
    if supervise_supports not in ('none', 'repeated'):
        raise ValueError(f"supervise_supports={supervise_supports!r}: expected 'none' or 'repeated'")
    if not query_questions:
        raise ValueError('query_questions is empty; expected at least one question with <image>')
    wording = episode_texts(texts)
    support: list[RawItem] = []
    seen: set[int] = set()
    order = support_order(draw.supports, rng)
    for number, path in order:
        label = draw.labels[number]
        learn = supervise_supports == 'repeated' and number in seen
        answer = write_label(wording.support_answer, label)
        support.append(make_item(load(path), path, wording.support_question, answer, label, learn))
        seen.add(number)
    generator = rng('question')
    asked = []
    for number, path in draw.queries:
        label = draw.labels[number]
        question = query_questions[int(generator.integers(len(query_questions)))]
        asked.append(make_item(load(path), path, question, write_label(wording.answer, label), label))
    number = draw.queries[0][0]
    meta = {
        'label': draw.labels[number],
        'labels': list(draw.labels),
        'candidates': [write_label(wording.answer, label) for label in draw.labels],
        'class': draw.classes[number],
        'classes': draw.classes,
        'names': draw.names,
        'shot': shot,
        **support_meta(support, asked[0], support_key(order)),
    }
    if draw.originals is not None:
        meta['original_label'] = draw.originals[number]
    return Episode(asked[0], tuple(support), tuple(asked[1:]), meta)


def support_meta(support: Sequence[RawItem], query: RawItem, key: str) -> dict[str, object]:
    """What every episode with supports says of itself."""
    return {
        'image_path': (query.get('meta') or {})['image_path'],
        'support': [dict(item.get('meta') or {}) for item in support],
        'support_key': key,
    }


def make_item(
    image: Image.Image, path: str, question: str, answer: str, label: str, supervised: bool = True
) -> RawItem:
    """One question with its answer on an image."""
    turns: list[Turn] = [
        {'from': 'human', 'value': question},
        {'from': 'gpt', 'value': answer, 'supervised': supervised},
    ]
    return {'image': image, 'conversations': turns, 'meta': {'image_path': path, 'label': label}}


def write_label(template: str, label: str) -> str:
    return template.replace(LABEL_PLACEHOLDER, label)


def support_key(supports: Sequence[tuple[int, str]]) -> str:
    """A name of the support set (images by class), the same in every order and under every labelling."""
    by_class = sorted(sorted(path for number, path in supports if number == wanted) for wanted, _ in supports)
    return hashlib.blake2b(repr(by_class).encode(), digest_size=8).hexdigest()


def support_order(supports: Sequence[tuple[int, str]], rng: ItemRng) -> list[tuple[int, str]]:
    """The supports in the order of the prompt, which is drawn for their set: queries on one set share their prefix."""
    by_path = sorted(supports, key=lambda entry: entry[1])
    return shuffled(by_path, item_rng(rng.seed, rng.epoch, 0, f'order/{support_key(supports)}'))
