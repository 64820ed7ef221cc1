"""Stage 2 of a sample's way for tables of Hugging Face `datasets`: a name on the hub, or local files.

columns mapped in the config -> RawItem
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from mllm.dataset.single_image_dataset.base import BoxUnit, choice_faults, question_templates, two_turns
from mllm.dataset.source import ItemSource
from mllm.grounding.geometry import denormalise_boxes, xywh_to_xyxy
from mllm.registry import DATASETS, nearest
from mllm.types import BOXES_PLACEHOLDER, IMAGE_PLACEHOLDER, RawItem
from mllm.utils.faults import FaultsError, lines_of, stop_on
from mllm.utils.image_io import decode, load_image, original_size, to_rgb
from mllm.utils.rng import ItemRng

BoxFormat = Literal['xyxy', 'xywh']
FILES = {'.parquet': 'parquet', '.json': 'json', '.jsonl': 'json', '.csv': 'csv', '.tsv': 'csv', '.arrow': 'arrow'}
"""Endings of local files -> the loader of `datasets` that reads them."""
MARK, MARKS = '<{}>', re.compile(r'<([^<>]+)>')


@DATASETS.register_module()
class HFDataset(ItemSource):
    """One item a row of a table.

    path, name, split    as of `datasets.load_dataset`; or a local file (parquet, json, jsonl, csv), a folder that
                         `save_to_disk` wrote, or one in the imagefolder layout
    template_string / template_file   the question: <image> once unless there is no image_column, and <column> for the
                         text of a column
    answer               likewise: text with <column>; <boxes> for those of box_column
    image_column         of images, or of paths relative to `image_folder`; None for text only
    box_column, box_format, box_unit   one box or a list of them a row: 'xyxy' or 'xywh', 'pixels' or 'normalised'
    meta                 name in `meta` -> column; for metrics: answers, references, candidates, ...
    """

    def __init__(
        self,
        path: str,
        answer: str,
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
        name: str | None = None,
        split: str = 'train',
        image_column: str | None = 'image',
        image_folder: str | None = None,
        box_column: str | None = None,
        box_format: BoxFormat = 'xyxy',
        box_unit: BoxUnit = 'pixels',
        meta: Mapping[str, str] | None = None,
    ) -> None:
        if (template_string is None) == (template_file is None):
            raise ValueError('HFDataset: give either template_string or template_file')
        faults = choice_faults('box_format', box_format, get_args(BoxFormat))
        faults += choice_faults('box_unit', box_unit, get_args(BoxUnit))
        stop_on(faults)
        self.path, self.image_column, self.image_folder = path, image_column, image_folder
        self.box_column, self.box_format, self.box_unit = box_column, box_format, box_unit
        self.answer_text, self.meta = answer, dict(meta or {})
        self.templates = question_templates(
            template_string, template_file, max_dynamic_size, (IMAGE_PLACEHOLDER,) if image_column else ()
        )
        self.table = without_decoding(load_table(path, name, split))
        self.check_columns()

    def check_columns(self) -> None:
        """ValueError that lists every column that is named and not there."""
        columns = self.table.column_names
        named = [('image_column', self.image_column), ('box_column', self.box_column)]
        named += [(f'meta.{key}', column) for key, column in self.meta.items()]
        faults = [
            f'{key}={column!r}: the table has no such column{nearest(str(column), columns)}'
            for key, column in named
            if column is not None and column not in columns
        ]
        if (self.box_column is not None) != (BOXES_PLACEHOLDER in self.answer_text):
            faults.append(
                f'answer={self.answer_text!r} and box_column={self.box_column!r}: {BOXES_PLACEHOLDER} needs both'
            )
        if not any(MARK.format(column) in self.answer_text for column in columns) and self.box_column is None:
            faults.append(f'answer={self.answer_text!r} names no column; write <{columns[0]}>, or one of {columns}')
        stop_on(faults)

    def __len__(self) -> int:
        return len(self.table)

    def describe(self, index: int) -> str:
        return f'{self.path}[{index}]'

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        row = self.table[index]
        template = self.templates[int(rng('template').integers(len(self.templates)))]
        question, answer = self.fill(template, row), self.fill(self.answer_text, row)
        meta = {key: row[column] for key, column in self.meta.items()}
        if self.image_column is None:
            return {'conversations': two_turns(question, answer), 'meta': meta}
        image = self.image(row)
        boxes = self.boxes(row, original_size(image))
        places = {'answer_boxes': [list(range(len(boxes)))]} if self.box_column else {}
        return {
            'image': image,
            'target': {'boxes': boxes} if boxes else None,
            'conversations': two_turns(question, answer, **places),
            'meta': meta,
        }

    def fill(self, text: str, row: Mapping[str, Any]) -> str:
        """The text with the contents of columns in place of their marks."""

        def written(match: re.Match[str]) -> str:
            if match[0] in (IMAGE_PLACEHOLDER, BOXES_PLACEHOLDER) or match[1] not in row:
                return match[0]
            value = row[match[1]]
            if not isinstance(value, str | int | float):
                raise ValueError(f'column {match[1]!r} holds {repr(value)[:60]}; a text needs a string or a number')
            return str(value)

        # In one pass: what a column says is not filled in again.
        return MARKS.sub(written, text)

    def image(self, row: Mapping[str, Any]) -> Image.Image:
        value = row[str(self.image_column)]
        if isinstance(value, Image.Image):
            return to_rgb(value)
        if isinstance(value, Mapping) and value.get('bytes'):
            return decode(value['bytes'], f'{self.path}: {value.get("path") or "an image"}')
        path = value.get('path') if isinstance(value, Mapping) else value
        if not isinstance(path, str):
            raise ValueError(f'{self.image_column} is {repr(value)[:60]}; expected an image or its path')
        return load_image(path, self.image_folder)

    def boxes(self, row: Mapping[str, Any], size: tuple[int, int]) -> list[Any]:
        if self.box_column is None:
            return []
        given = row[self.box_column]
        given = [given] if given and not isinstance(given[0], Sequence) else list(given or [])
        boxes = xywh_to_xyxy(given) if self.box_format == 'xywh' else given
        return denormalise_boxes(boxes, *size) if self.box_unit == 'normalised' else boxes

    def image_key(self, index: int) -> str | None:
        if self.image_column is None:
            return None
        value = self.table[index][self.image_column]
        if isinstance(value, Mapping):
            data = value.get('bytes')
            return hashlib.blake2b(data, digest_size=16).hexdigest() if data else value.get('path')
        return str(value)

    def answer(self, index: int) -> str:
        return self.fill(self.answer_text, self.table[index])


def load_table(path: str, name: str | None, split: str) -> Any:
    """A table of `datasets`; ValueError that says what was tried."""
    import datasets

    try:
        if Path(path).is_dir() and (Path(path) / 'state.json').is_file():
            return datasets.load_from_disk(path)
        if Path(path).is_dir() and (Path(path) / 'dataset_dict.json').is_file():
            return datasets.load_from_disk(path)[split]
        if Path(path).is_file():
            loader = FILES.get(Path(path).suffix.lower())
            if loader is None:
                raise ValueError(f'no table by its ending; expected one of {", ".join(FILES)}')
            return datasets.load_dataset(loader, data_files={split: path}, split=split)
        return datasets.load_dataset(path, name, split=split)
    except Exception as error:  # whatever its readers raise
        raise FaultsError([f'HFDataset: {path!r}, split {split!r}: {line}' for line in first_lines(error)]) from error


def first_lines(error: Exception) -> list[str]:
    return lines_of(error)[:1] if isinstance(error, ValueError | OSError) else [f'{type(error).__name__}: {error}']


def without_decoding(table: Any) -> Any:
    """The table with images as bytes or paths: ours decodes them, with its own errors."""
    import datasets

    for column, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
    return table
