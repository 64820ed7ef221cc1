"""Stage 2 of a sample's way, what most datasets share: JSON Lines annotations, an image folder, question templates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mllm.dataset.source import ItemSource
from mllm.utils.faults import FaultsError, lines_of
from mllm.utils.image_io import load_image
from mllm.utils.line_file import LineFile

if TYPE_CHECKING:
    from PIL import Image

    from mllm.utils.rng import ItemRng


class MInstrDataset(ItemSource):
    """A dataset of annotation lines. A subclass implements `get_item` and names its `placeholders`.

    filename          JSON Lines, one annotation a line
    image_folder      folder, zip or tar that image paths are relative to; None: paths as they are
    template_string / template_file   the question, or a JSON list of paraphrases; one is drawn per item
    max_dynamic_size  use only the first so many templates
    """

    placeholders: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        template_string: str | None = None,
        template_file: str | None = None,
        max_dynamic_size: int | None = None,
    ) -> None:
        if (template_string is None) == (template_file is None):
            raise ValueError(f'{type(self).__name__}: give either template_string or template_file')
        self.filename = filename
        self.image_folder = image_folder
        try:
            self.templates = question_templates(template_string, template_file, max_dynamic_size, self.placeholders)
        except (ValueError, FileNotFoundError) as error:
            raise FaultsError([*lines_of(error), *self.problems()]) from error

    @cached_property
    def rows(self) -> LineFile:
        return LineFile(self.filename)

    def __len__(self) -> int:
        return len(self.rows)

    def describe(self, index: int) -> str:
        return self.rows.where(index)

    def get_row(self, index: int) -> dict[str, Any]:
        """The annotation at `index`."""
        return self.rows[index]

    def get_image(self, path: str) -> Image.Image:
        """The image an annotation names, RGB."""
        return load_image(path, self.image_folder)

    def get_template(self, rng: ItemRng) -> str:
        """One of the question templates, drawn for this item."""
        return self.templates[int(rng('template').integers(len(self.templates)))]

    def problems(self) -> Iterator[str]:
        if not Path(self.filename).is_file():
            yield f'{self.filename}: no such annotation file'


def question_templates(
    template_string: str | None, template_file: str | None, first: int | None, placeholders: Sequence[str]
) -> list[str]:
    """The `first` templates of one of the two; ValueError unless each has every placeholder exactly once."""
    templates = [template_string] if template_string is not None else read_templates(str(template_file))
    faults = [
        f'{template_file or "template_string"}: {template!r} has {placeholder} {template.count(placeholder)} times, '
        'needed once'
        for template in templates[:first]
        for placeholder in placeholders
        if template.count(placeholder) != 1
    ]
    if faults:
        raise ValueError('\n'.join(faults))
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
