"""Stages 2 and 11 of a sample's way for referring expressions: where is the thing that a phrase names?

RECDataset          expression -> box         RefCOCO / + / g
REGDataset          box -> expression         the reverse: a phrase that names one thing
ReverseRECDataset   box -> expression         the same, of expressions with a certain number of words
GCDataset           box -> description        Visual Genome regions

Rows: {"img_path", "expression", "bbox": [x0, y0, x1, y1]}; `ref_id` and `sent_id`, where a row has them, go to `meta`.
To evaluate a phrase, a row may have `references`: all that people called this thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mllm.dataset.single_image_dataset.base import BoxUnit, MInstrDataset, Row, field, two_turns
from mllm.metric.base import Metric, Numbers, TableRow, rate
from mllm.metric.grounding import answered_boxes, box_iou, build_formatter, size_of, true_boxes
from mllm.metric.tables import numbers_by
from mllm.registry import DATASETS, METRICS
from mllm.types import BOXES_PLACEHOLDER, EXPR_PLACEHOLDER, IMAGE_PLACEHOLDER, OBJS_PLACEHOLDER, Prediction, RawItem
from mllm.utils.rng import ItemRng

IDS = ('ref_id', 'sent_id')
THRESHOLDS = (0.25, 0.5, 0.75, 0.9)
HEADLINE = 0.5
ROUNDING = 1e-6
"""An overlap counts where it is above a threshold: exactly half is not above one half, whatever its last bit."""


def ids_of(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in IDS if key in row}


@DATASETS.register_module()
class RECDataset(MInstrDataset):
    """Question with <expr> and <image>; answer `Answer: <boxes> .`"""

    placeholders = (IMAGE_PLACEHOLDER, EXPR_PLACEHOLDER)
    image_field = 'img_path'

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        expression = field(row, 'expression', str)
        question = self.get_template(rng).replace(EXPR_PLACEHOLDER, expression)
        return {
            'target': {'boxes': [field(row, 'bbox', list)]},
            'conversations': two_turns(question, f'Answer: {BOXES_PLACEHOLDER} .', answer_boxes=[[0]]),
            'meta': {'expression': expression, **ids_of(row)},
        }


@DATASETS.register_module()
class REGDataset(MInstrDataset):
    """Question with <objs>, which becomes the box, and <image>; the answer is the expression.

    `meta['references']` are all expressions for the thing, those of the row or its one.
    """

    placeholders = (IMAGE_PLACEHOLDER, OBJS_PLACEHOLDER)
    image_field = 'img_path'

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        expression = field(row, 'expression', str)
        references = field(row, 'references', list) if 'references' in row else [expression]
        if not references or not all(isinstance(text, str) for text in references):
            raise ValueError(f'references are {repr(references)[:60]}; expected texts, at least one')
        question = self.get_template(rng).replace(OBJS_PLACEHOLDER, BOXES_PLACEHOLDER)
        return {
            'target': {'boxes': [field(row, 'bbox', list)]},
            'conversations': two_turns(question, expression, question_boxes=[[0]]),
            'meta': {'references': references, **ids_of(row)},
        }


@DATASETS.register_module()
class ReverseRECDataset(REGDataset):
    """Rows of REGDataset whose expression has more than `caption_min_words` and fewer than `caption_max_words` words.

    `<image>` follows a template that does not have it. The other arguments are those of `MInstrDataset`.
    """

    placeholders = (OBJS_PLACEHOLDER,)

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        caption_min_words: int = 0,
        caption_max_words: int | None = None,
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
        box_unit: BoxUnit | None = None,
    ) -> None:
        self.caption_min_words = caption_min_words
        self.caption_max_words = float('inf') if caption_max_words is None else caption_max_words
        super().__init__(filename, image_folder, template_string, template_file, max_dynamic_size, box_unit)
        if self.caption_max_words < caption_min_words + 2:
            raise ValueError(
                f'caption_min_words={caption_min_words}, caption_max_words={caption_max_words}: no expression has more '
                'words than the one and fewer than the other'
            )

    @cached_property
    def kept(self) -> np.ndarray:
        """Numbers of the rows that are kept, 8 bytes each; all rows are read for it, once, and none is held."""
        return np.fromiter((number for number in range(len(self.rows)) if self.keeps(number)), dtype=np.int64)

    def keeps(self, number: int) -> bool:
        try:
            words = len(field(self.rows[number], 'expression', str).split())
        except ValueError:
            return True  # its fault is told when its item is made
        return self.caption_min_words < words < self.caption_max_words

    def __len__(self) -> int:
        return len(self.kept)

    def describe(self, index: int) -> str:
        return super().describe(int(self.kept[index]))

    def get_row(self, index: int) -> dict[str, Any]:
        return super().get_row(int(self.kept[index]))

    def get_template(self, rng: ItemRng) -> str:
        template = super().get_template(rng)
        return template if IMAGE_PLACEHOLDER in template else template + IMAGE_PLACEHOLDER

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if Path(self.filename).is_file() and not len(self):
            yield (
                f'{self.filename}: no expression has more than {self.caption_min_words} and fewer than '
                f'{self.caption_max_words} words (caption_min_words, caption_max_words)'
            )


@DATASETS.register_module()
class GCDataset(REGDataset):
    """Rows and answers of REGDataset; its templates ask for a description."""


@METRICS.register_module()
class RECComputeMetrics(Metric[list[float]]):
    """How well the box in an answer fits the true one, in pixels of the original image.

    An answer must hold exactly one box; another number of boxes is a parse failure. Numbers, rates with 95 %
    intervals: `accuracy` (IoU above 0.5), `accuracy_25`, `accuracy_75`, `accuracy_90`, `iou` (mean), and
    `first_box_accuracy`, which takes the first box of an answer with several. Predictions whose target does not hold
    exactly one box are counted in `target_failures` and left out of all rates. Table `by_size` of the true box (COCO's
    areas).
    """

    def __init__(self, formatter: Mapping[str, Any] | None = None) -> None:
        self.formatter = build_formatter(formatter)

    def extract(self, prediction: Prediction) -> list[float] | None:
        boxes = self.boxes(prediction)
        return boxes[0] if len(boxes) == 1 else None

    def boxes(self, prediction: Prediction) -> list[list[float]]:
        return [box for group in answered_boxes(prediction, self.formatter) for box in group]

    def true_box(self, prediction: Prediction) -> list[float] | None:
        boxes = [box for group in true_boxes(prediction, self.formatter) for box in group]
        return boxes[0] if len(boxes) == 1 else None

    def score(self, value: list[float], prediction: Prediction) -> float:
        return float(self.overlap(value, prediction) > HEADLINE + ROUNDING)

    def overlap(self, box: list[float] | None, prediction: Prediction) -> float:
        true = self.true_box(prediction)
        return 0.0 if box is None or true is None else box_iou(box, true)

    def size(self, prediction: Prediction) -> str | None:
        """Of the true box, where it is known in pixels."""
        true = self.true_box(prediction)
        return size_of(true) if true and 'frame' in prediction.meta else None

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """The base rows (extracted: the box in pixels) with `iou`, `first_box_correct`, `true_box` and `size`."""
        rows = super().per_sample(predictions)
        for row, prediction in zip(rows, predictions, strict=True):
            first, true = self.boxes(prediction)[:1], self.true_box(prediction)
            row['iou'] = self.overlap(row['extracted'], prediction)
            row['first_box_correct'] = float(bool(first) and self.overlap(first[0], prediction) > HEADLINE + ROUNDING)
            row['true_box'] = true
            row['size'] = self.size(prediction)
        return rows

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        scored = [(row, prediction) for row, prediction in zip(rows, predictions) if row['true_box'] is not None]
        of = [prediction for _, prediction in scored]
        ious = [row['iou'] for row, _ in scored]
        numbers: Numbers = {
            'n': len(scored),
            'parse_failures': sum(not row['parsed'] for row, _ in scored),
            'target_failures': len(rows) - len(scored),
        }
        for threshold in (HEADLINE, *(other for other in THRESHOLDS if other != HEADLINE)):
            name = 'accuracy' if threshold == HEADLINE else f'accuracy_{threshold * 100:.0f}'
            numbers |= rate(name, [float(iou > threshold + ROUNDING) for iou in ious], of)
        numbers |= rate('iou', ious, of)
        return numbers | rate('first_box_accuracy', [row['first_box_correct'] for row, _ in scored], of)

    def tables(self, predictions: Sequence[Prediction]) -> dict[str, list[TableRow]]:
        return {'by_size': numbers_by('size', self.size, self.compute, predictions)}
