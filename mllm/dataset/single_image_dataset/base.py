"""Stage 2 of a sample's way, what most datasets share: annotation rows, an image folder, question templates."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from mllm.dataset.source import ItemSource
from mllm.grounding.geometry import are_numbers, denormalise_boxes, denormalise_points
from mllm.registry import nearest
from mllm.types import RawItem, Target, Turn
from mllm.utils.faults import FaultsError, lines_of, stop_on
from mllm.utils.image_io import load_image, original_size
from mllm.utils.json_rows import Rows, open_rows
from mllm.utils.rng import ItemRng

if TYPE_CHECKING:
    from PIL import Image

Row = Mapping[str, Any]
BoxUnit = Literal['pixels', 'normalised']
FAR_OUTSIDE = 2
"""Places beyond this many widths or heights of their image are not normalised; a little outside they may be."""


class AnnotatedDataset(ItemSource):
    """A dataset of annotation rows. A subclass implements `make_item` and names its `image_field`.

    filename      JSON Lines or one JSON array, an annotation a row
    image_folder  folder, zip or tar that image paths are relative to; None: paths as they are
    box_unit      of boxes and points in the file: 'pixels' of the image as stored, or 'normalised' to 0..1; None:
                  pixels, and rows that look normalised are errors
    """

    image_field: ClassVar[str] = 'image'
    """The field of a row that holds the path of its image."""

    def __init__(self, filename: str, image_folder: str | None = None, box_unit: BoxUnit | None = None) -> None:
        self.filename = filename
        self.image_folder = image_folder
        self.box_unit = box_unit
        self.refuse(choice_faults('box_unit', box_unit, (None, *get_args(BoxUnit))))

    def refuse(self, faults: Sequence[str]) -> None:
        """FaultsError for faults of the arguments, together with those of the files; nothing without any."""
        if faults:
            raise FaultsError([*faults, *self.problems()])

    @abstractmethod
    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        """Turns, target and meta of a row; its image is put in later. ValueError for what is wrong with the row."""

    @cached_property
    def rows(self) -> Rows:
        return open_rows(self.filename)

    def __len__(self) -> int:
        return len(self.rows)

    def describe(self, index: int) -> str:
        return self.rows.where(index)

    def get_row(self, index: int) -> dict[str, Any]:
        """The annotation at `index`."""
        return self.rows[index]

    def image_path(self, row: Row) -> str | None:
        """The path of a row's image, None for a row without one."""
        return field(row, self.image_field, str)

    def get_image(self, path: str) -> Image.Image:
        """The image an annotation names, RGB."""
        return load_image(path, self.image_folder)

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        row = self.get_row(index)
        item, path = self.make_item(row, rng), self.image_path(row)
        if path is None:
            return item
        image, target = self.get_image(path), item.get('target')
        meta = {**(item.get('meta') or {}), 'image_path': path}
        return {**item, 'image': image, 'target': target and self.in_pixels(target, original_size(image)), 'meta': meta}

    def in_pixels(self, target: Any, size: tuple[int, int]) -> Target:
        """The target of a row in pixels; ValueError where it looks as if it were in the other unit."""
        boxes, points = target.get('boxes', []), target.get('points', [])
        # What is no place at all is told later, with the others.
        places = [*(box for box in boxes if are_numbers(box, 4)), *(point for point in points if are_numbers(point, 2))]
        if self.box_unit == 'normalised':
            for place in places:
                if max(map(abs, place)) > FAR_OUTSIDE:
                    raise ValueError(
                        f"{list(place)} is not normalised to 0..1; write box_unit='pixels' if it is pixels"
                    )
            return {
                'boxes': [denormalise_boxes([box], *size)[0] if are_numbers(box, 4) else box for box in boxes],
                'points': [denormalise_points([at], *size)[0] if are_numbers(at, 2) else at for at in points],
            }
        small = all(0 <= value <= 1 for place in places for value in place)
        if self.box_unit is None and places and small and max(size) > 1:
            raise ValueError(
                f'its boxes or points lie between 0 and 1 ({list(places[0])}), in an image of {size[0]}x{size[1]} '
                "pixels; write box_unit='normalised' in the dataset's config if they are, and 'pixels' if they are not"
            )
        return target

    def image_key(self, index: int) -> str | None:
        path = self.image_path(self.get_row(index))
        return path and self.key_of(path)

    def key_of(self, path: str) -> str:
        """What an image is known by, however its path is written."""
        return os.path.normpath(os.path.join(self.image_folder or '', path))

    def answer(self, index: int) -> str:
        return self.make_item(self.get_row(index), ItemRng(0, 0, index))['conversations'][-1]['value']

    def problems(self) -> Iterator[str]:
        if not Path(self.filename).is_file():
            yield f'{self.filename}: no such annotation file'
        if self.image_folder is not None and not Path(self.image_folder).exists():
            yield f'image_folder {self.image_folder} does not exist'


class MInstrDataset(AnnotatedDataset):
    """An annotated dataset whose question is a template. A subclass names the `placeholders` each template needs once.

    template_string / template_file   the question, or a JSON list of paraphrases; one is drawn per item
    max_dynamic_size  use only the first so many templates

    The other arguments are those of `AnnotatedDataset`.
    """

    placeholders: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
        box_unit: BoxUnit | None = None,
    ) -> None:
        super().__init__(filename, image_folder, box_unit)
        if (template_string is None) == (template_file is None):
            raise ValueError(f'{type(self).__name__}: give either template_string or template_file')
        try:
            self.templates = question_templates(template_string, template_file, max_dynamic_size, self.placeholders)
        except (ValueError, FileNotFoundError) as error:
            raise FaultsError([*lines_of(error), *self.problems()]) from error

    def get_template(self, rng: ItemRng) -> str:
        """One of the question templates, drawn for this item."""
        return self.templates[int(rng('template').integers(len(self.templates)))]


def choice_faults(name: str, value: object, choices: Iterable[Any]) -> list[str]:
    """What is wrong with an argument that must be one of some choices: nothing, or one line with the nearest."""
    choices = list(choices)
    words = [choice for choice in choices if choice is not None]
    return [] if value in choices else [f'{name}={value!r}{nearest(str(value), words)}']


def field(row: Row, key: str, kind: type | tuple[type, ...]) -> Any:
    """`row[key]`; ValueError unless it is there and of a kind (a bool is no number)."""
    if key not in row:
        raise ValueError(f'no {key!r}{nearest(key, map(str, row))}')
    value = row[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = ' or '.join(one.__name__ for one in kinds)
        raise ValueError(f'{key} is {repr(value)[:60]}; expected {names}')
    return value


def two_turns(question: str, answer: str, **places: Any) -> list[Turn]:
    """A question and its answer. `places` are question_boxes, question_points, answer_boxes and answer_points: for each
    placeholder of that turn the numbers of what it stands for.
    """
    human, gpt = Turn({'from': 'human', 'value': question}), Turn({'from': 'gpt', 'value': answer})
    for key, groups in places.items():
        place, kind = key.split('_')
        turn = {'question': human, 'answer': gpt}[place]
        turn[f'{kind}_seq'] = groups  # type: ignore[literal-required]
    return [human, gpt]


def question_templates(
    template_string: str | None, template_file: str | None, first: int | None, placeholders: Sequence[str]
) -> list[str]:
    """The `first` templates of one of the two; ValueError unless each has every placeholder exactly once."""
    if first is not None and first < 1:
        raise ValueError(f'max_dynamic_size={first}: at least 1 template is needed')
    templates = [template_string] if template_string is not None else read_templates(str(template_file))
    faults = [
        f'{template_file or "template_string"}: {template!r} has {placeholder} {template.count(placeholder)} times, '
        'needed once'
        for template in templates[:first]
        for placeholder in placeholders
        if template.count(placeholder) != 1
    ]
    stop_on(faults)
    return templates[:first]


def read_templates(path: str) -> list[str]:
    """A JSON list of strings; ValueError or FileNotFoundError naming the file otherwise."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'template_file {path} does not exist')
    try:
        templates = json.loads(Path(path).read_text(encoding='utf-8'))
    except json.JSONDecodeError as error:
        raise ValueError(f'{path}:{error.lineno}: not JSON ({error.msg}); expected a list of strings') from error
    if not isinstance(templates, list) or not templates or not all(isinstance(t, str) for t in templates):
        raise ValueError(f'{path}: expected a JSON list of strings, at least one')
    return templates
