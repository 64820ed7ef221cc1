"""Stage 3 of a sample's way for V3Det: link-context episodes with boxes, of categories under invented names.

support   'The <boxes> in the image is {word}.' for the category, with its own name for one like it
query     where is {word}? its boxes; or of an image of the other category: that it is not there, or where that is
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import cycle, islice

from mllm.dataset.single_image_dataset.base import question_templates, two_turns
from mllm.dataset.single_image_dataset.drawing import draw_words, shuffled
from mllm.dataset.single_image_dataset.link_context import BankDataset, Policy
from mllm.dataset.single_image_dataset.shots import Shot
from mllm.dataset.single_image_dataset.v3det_bank import FEWEST, V3DetBank
from mllm.registry import DATASETS, POLICIES
from mllm.types import BOXES_PLACEHOLDER, EXPR_PLACEHOLDER, IMAGE_PLACEHOLDER, Episode, RawItem
from mllm.utils.rng import ItemRng

LEARN = '[INSTRUCTION] Please learn from the following sentence about the image <image>.'
ASK = '[INFERENCE] '
ABSENT = 'The target object does not exist.'
QUESTION = 'Where is <expr> in the image <image>?'
WORD_LENGTH = (4, 10)
NEAREST = 5
"""A contrast is drawn among so many of the most similar, or among all, with equal chance."""


@POLICIES.register_module('policy_v1')
def v3det_policy(
    bank: V3DetBank, index: int, shot: int, rng: ItemRng, query_questions: Sequence[str] = (QUESTION,)
) -> Episode:
    """`shot` supports of the category under an invented word and as many of a similar one under its own name.

    The first two are one of each, the others come in random order. Half of the queries ask for the word on an image of
    the category; a quarter for the word on an image of the other one, which does not show it; a quarter for the other
    one by its name. The query's image is no support, and supports are shown again only where a category has no more.
    Images of the other category do not show the first; images of the first not the other, where it has two such.
    """
    category = bank.ids[index]
    contrasts = bank.contrasts(category)
    generator = rng('contrast')
    near = contrasts[:NEAREST] if generator.integers(2) else contrasts
    other = near[int(generator.integers(len(near)))]
    name = bank.by_id[other].name.replace('_', ' ')
    (word,) = draw_words(1, [name, bank.by_id[category].name.replace('_', ' ')], WORD_LENGTH, rng('word'))
    generator = rng('images')
    apart = bank.images_without(category, other)
    own = shuffled(apart if len(apart) >= FEWEST else list(bank.by_id[category].coordinates), generator)
    others = shuffled(bank.images_without(other, category), generator)
    kind = ('word', 'word', 'absent', 'name')[int(rng('query').integers(4))]
    image = (own if kind == 'word' else others).pop()
    mine = [learn(bank, category, image_id, word, rng) for image_id in islice(cycle(own), shot)]
    theirs = [learn(bank, other, image_id, name, rng) for image_id in islice(cycle(others), shot)]
    first, rest = [mine[0], theirs[0]], [*mine[1:], *theirs[1:]]
    generator = rng('question')
    template = query_questions[int(generator.integers(len(query_questions)))]
    query = ask(bank, template, kind, (category, word), (other, name), image)
    return Episode(query, (*first, *shuffled(rest, rng('order'))), meta={'shot': shot, 'labels': [word, name]})


def learn(bank: V3DetBank, category: int, image: int, name: str, rng: ItemRng) -> RawItem:
    """A support: one of the category's boxes in an image, and a name for it."""
    boxes = bank.by_id[category].boxes(image)
    box = boxes[int(rng(f'box/{image}').integers(len(boxes)))]
    return {
        'image': bank.load_id(image),
        'target': {'boxes': [box]},
        'conversations': two_turns(LEARN, f'The {BOXES_PLACEHOLDER} in the image is {name}.', answer_boxes=[[0]]),
        'meta': {'label': name, 'image_path': bank.files[image]},
    }


def ask(
    bank: V3DetBank, template: str, kind: str, positive: tuple[int, str], negative: tuple[int, str], image: int
) -> RawItem:
    """The query: `kind` is 'word', 'absent' or 'name' as in `v3det_policy`."""
    category, name = negative if kind == 'name' else (positive[0], positive[1])
    question = ASK + template.replace(EXPR_PLACEHOLDER, name)
    meta = {'label': name, 'kind': kind, 'image_path': bank.files[image]}
    item: RawItem = {'image': bank.load_id(image), 'conversations': two_turns(question, ABSENT), 'meta': meta}
    if kind == 'absent':
        return item
    boxes = bank.by_id[category].boxes(image)
    turns = two_turns(question, f'{BOXES_PLACEHOLDER}.', answer_boxes=[list(range(len(boxes)))])
    return {**item, 'target': {'boxes': boxes}, 'conversations': turns}  # type: ignore[typeddict-item]


@DATASETS.register_module()
class V3DetDataset(BankDataset):
    """Episodes of every category of a V3Det file, see `V3DetBank` and `v3det_policy` (in configs 'policy_v1').

    The released code wrote them with the prompt that the episode template 'link_context_v3det' stands for.

    template_string / template_file   the query's question, with <expr> and <image> once each
    """

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        shot: Shot,
        policy: Policy = 'policy_v1',
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
        episodes_per_class: int = 1,
    ) -> None:
        def make_questions() -> Sequence[str] | None:
            if template_string is None and template_file is None:
                return None
            marks = [IMAGE_PLACEHOLDER, EXPR_PLACEHOLDER]
            return question_templates(template_string, template_file, max_dynamic_size, marks)

        make_bank = functools.partial(V3DetBank, filename, image_folder)
        super().__init__(make_bank, policy, shot, None, episodes_per_class, make_questions)
