"""Stages 2 and 11 of a sample's way for Flickr30k Entities: captions whose phrases have boxes, and the reverse.

Rows, as the converter writes them: {"id", "image_id", "sentence": "<ph_st>A man<ph_ed> throws ...", "boxes": [...],
"boxes_seq": for each phrase the numbers of its boxes}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, choice_faults, field, two_turns
from mllm.dataset.single_image_dataset.phrases import phrases_of, plain, with_boxes, with_some_boxes
from mllm.metric.base import Metric, Numbers, rate
from mllm.metric.caption import CaptionComputeMetrics
from mllm.metric.grounding import answered_boxes, box_iou, build_formatter, true_boxes
from mllm.registry import DATASETS, METRICS
from mllm.types import BOXES_PLACEHOLDER, IMAGE_PLACEHOLDER, OBJS_PLACEHOLDER, Prediction, RawItem
from mllm.utils.rng import ItemRng

CaptionWithBox = Literal['none', 'all', 'question']
REQUESTS = {
    'none': ' The generated caption should only contain words, no boxes.',
    'all': '',
    'question': ' The generated caption should contain and only contain the query boxes.',
}
"""What is added to the question for each form of the caption."""
OVERLAP = 0.5


@DATASETS.register_module()
class FlickrDataset(MInstrDataset):
    """Question with <image>; the answer is the caption with <boxes> behind every phrase that has some."""

    placeholders = (IMAGE_PLACEHOLDER,)
    image_field = 'image_id'

    def image_path(self, row: Row) -> str | None:
        return f'{field(row, "image_id", (str, int))}.jpg'

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        sentence, groups = field(row, 'sentence', str), field(row, 'boxes_seq', list)
        answer = with_boxes(sentence, groups)
        return {
            'target': {'boxes': field(row, 'boxes', list)},
            'conversations': two_turns(self.get_template(rng), answer, answer_boxes=groups),
            'meta': {'references': [plain(sentence)], 'phrases': phrases_of(sentence), **ids_of(row)},
        }


def ids_of(row: Row) -> dict[str, Any]:
    return {'id': row['id']} if 'id' in row else {}


@DATASETS.register_module()
class FlickrBox2Caption(FlickrDataset):
    """Boxes in, caption out. Question with <image> and <objs>, which becomes the boxes of some phrases.

    box_max_num        so many phrases at most are asked about, of each one box
    caption_with_box   'none': the caption has no boxes; 'all': those of every phrase; 'question': those asked about
    """

    placeholders = (IMAGE_PLACEHOLDER, OBJS_PLACEHOLDER)

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        box_max_num: int = 5,
        caption_with_box: CaptionWithBox = 'all',
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        faults = choice_faults('caption_with_box', caption_with_box, get_args(CaptionWithBox))
        faults += [] if box_max_num >= 1 else [f'box_max_num={box_max_num}: expected at least 1']
        self.refuse(faults)
        self.box_max_num = box_max_num
        self.caption_with_box = caption_with_box

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        sentence, groups = field(row, 'sentence', str), field(row, 'boxes_seq', list)
        if not groups:
            raise ValueError('no phrase of this caption has a box')
        generator = rng('boxes')
        count = min(self.box_max_num, len(groups))
        chosen = sorted(int(n) for n in generator.choice(len(groups), size=count, replace=False))
        asked = list(dict.fromkeys(groups[n][int(generator.integers(len(groups[n])))] for n in chosen))
        generator.shuffle(asked)
        question = self.get_template(rng).replace(OBJS_PLACEHOLDER, BOXES_PLACEHOLDER) + REQUESTS[self.caption_with_box]
        shown = [self.shown(number, group, chosen, asked) for number, group in enumerate(groups)]
        answer = with_some_boxes(sentence, [bool(group) for group in shown])
        return {
            'target': {'boxes': field(row, 'boxes', list)},
            'conversations': two_turns(
                question, answer, question_boxes=[asked], answer_boxes=[group for group in shown if group]
            ),
            'meta': {'references': [plain(sentence)], **ids_of(row)},
        }

    def shown(self, number: int, group: Sequence[int], chosen: Sequence[int], asked: Sequence[int]) -> list[int]:
        """The boxes of a phrase that the caption writes."""
        if self.caption_with_box == 'none':
            return []
        if self.caption_with_box == 'all':
            return list(group)
        return [box for box in group if box in asked] if number in chosen else []


DATASETS.register_module('flickr30k_reverse')(FlickrBox2Caption)  # the name of the first release


@METRICS.register_module()
class FlickrComputeMetrics(Metric[list[list[list[float]]]]):
    """How well the phrases of a caption are grounded, and how good the caption is.

    The k-th group of boxes of an answer is taken for the k-th phrase of the right caption, so phrases that are missing
    or too many count against what follows them. `accuracy` is over phrases: a phrase is right if the union of its
    answered boxes (the smallest box that holds them) has an IoU above 0.5 with the union of its true ones (merged-box
    protocol); `any_box_accuracy`: the first answered box has it with any true one (any-box protocol). Both are means of
    the samples' rates, with their 95 % intervals; `phrases` is the number of phrases. Caption scores are those of
    `CaptionComputeMetrics`, boxes left out; `meteor=False` leaves METEOR out. Answers without a box are parse failures.
    """

    def __init__(self, formatter: Mapping[str, Any] | None = None, meteor: bool = True) -> None:
        self.formatter = build_formatter(formatter)
        self.caption = CaptionComputeMetrics(formatter, meteor)

    def extract(self, prediction: Prediction) -> list[list[list[float]]] | None:
        return answered_boxes(prediction, self.formatter) or None

    def score(self, value: list[list[list[float]]], prediction: Prediction) -> float:
        return self.share(value, prediction, merged=True)

    def share(self, answered: list[list[list[float]]], prediction: Prediction, merged: bool) -> float:
        """The share of the true phrases that are grounded."""
        truth = true_boxes(prediction, self.formatter)
        right = 0
        for found, true in zip(answered, truth):
            pairs = [(union(found), union(true))] if merged else [(found[0], box) for box in true]
            right += any(box_iou(one, other) > OVERLAP for one, other in pairs)
        return right / len(truth) if truth else 0.0

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        rows = super().per_sample(predictions)
        captions = self.caption.per_sample(predictions)
        for row, caption, prediction in zip(rows, captions, predictions, strict=True):
            row['any_box_correct'] = self.share(row['extracted'] or [], prediction, merged=False)
            row['phrases'] = len(true_boxes(prediction, self.formatter))
            row |= {key: value for key, value in caption.items() if key not in row}
        return rows

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        numbers = super().reduce(rows, predictions)
        numbers |= rate('any_box_accuracy', [row['any_box_correct'] for row in rows], predictions)
        numbers['phrases'] = sum(row['phrases'] for row in rows)
        captions = self.caption.reduce(rows, predictions)
        return numbers | {key: value for key, value in captions.items() if key not in numbers}


def union(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The smallest box that holds all of them."""
    lows, highs = zip(*((box[:2], box[2:]) for box in boxes))
    return [min(x for x, _ in lows), min(y for _, y in lows), max(x for x, _ in highs), max(y for _, y in highs)]
