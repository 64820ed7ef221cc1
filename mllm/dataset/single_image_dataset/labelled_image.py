"""Stage 2 of a sample's way for plain naming: image -> its class's real name, without supports.

The training task of the control that never sees an episode; its candidates make it scorable by likelihood.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

from mllm.dataset.single_image_dataset.class_bank import ClassBank
from mllm.dataset.source import ImageFile, ItemSource
from mllm.metric.link_context import ANSWER_TEMPLATE, LABEL_PLACEHOLDER
from mllm.registry import DATASETS
from mllm.types import IMAGE_PLACEHOLDER, RawItem
from mllm.utils.faults import collect, stop_on
from mllm.utils.rng import ItemRng

QUESTION = 'What is in the image <image>?'


@DATASETS.register_module()
class LabelledImageDataset(ItemSource):
    """Every image of a pair file (see `ClassBank`), once.

    question         with <image> once
    answer_template  with <label> once
    candidates       so many answers are compared by likelihood: the right name and others drawn at random
    """

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        question: str = QUESTION,
        answer_template: str = ANSWER_TEMPLATE,
        candidates: int = 2,
    ) -> None:
        faults = [
            f'{text!r} needs {placeholder} exactly once'
            for text, placeholder in ((question, IMAGE_PLACEHOLDER), (answer_template, LABEL_PLACEHOLDER))
            if text.count(placeholder) != 1
        ]
        self.bank, _ = collect(functools.partial(ClassBank, filename, image_folder), functools.partial(stop_on, faults))
        self.labels = sorted({item.label for item in self.bank.classes})
        if not 1 <= candidates <= len(self.labels):
            raise ValueError(f'candidates={candidates}: expected 1..{len(self.labels)} (names in {filename})')
        self.question = question
        self.answer_template = answer_template
        self.candidates = candidates
        self.labelled = [
            (number, path)
            for number, item in enumerate(self.bank.classes)
            for path in dict.fromkeys(item.supports + item.queries)
        ]

    def __len__(self) -> int:
        return len(self.labelled)

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        number, path = self.labelled[index]
        label = self.bank[number].label
        others = [name for name in self.labels if name != label]
        drawn = rng('candidates').choice(len(others), size=self.candidates - 1, replace=False)
        labels = [label, *(others[int(i)] for i in drawn)]
        answers = [self.answer_template.replace(LABEL_PLACEHOLDER, name) for name in labels]
        return {
            'image': self.bank.load(path),
            'conversations': [{'from': 'human', 'value': self.question}, {'from': 'gpt', 'value': answers[0]}],
            'meta': {
                'label': label,
                'labels': labels,
                'candidates': answers,
                'class': self.bank[number].title,
                'image_path': path,
            },
        }

    def image_key(self, index: int) -> str | None:
        return os.path.normpath(os.path.join(self.bank.image_folder or '', self.labelled[index][1]))

    def answer(self, index: int) -> str:
        return self.answer_template.replace(LABEL_PLACEHOLDER, self.bank[self.labelled[index][0]].label)

    def describe(self, index: int) -> str:
        return self.bank.where(self.labelled[index][0])

    def problems(self) -> Iterator[str]:
        return self.bank.missing_images()

    def images(self) -> Iterator[ImageFile]:
        return self.bank.images()
