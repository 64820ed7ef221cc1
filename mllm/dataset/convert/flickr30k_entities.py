"""Before stage 1 of a sample's way: Flickr30k Entities -> rows of `flickr.FlickrDataset`.

{split}.txt             numbers of images
Sentences/{id}.txt      five captions: `[/EN#12/people A man] throws [/EN#13/other a ball]`
Annotations/{id}.xml    boxes of entities, pixels counted from 1
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.single_image_dataset.phrases import END, START
from mllm.registry import CONVERTERS

PHRASE = re.compile(r'\[/EN#(\d+)((?:/[^\s/\]]+)+)\s+([^\]]*)\]')
NOT_VISUAL = '0'


@dataclass
class Annotation:
    """The size of an image, and the boxes of each entity that has some."""

    width: int
    height: int
    boxes: dict[str, list[list[float]]] = field(default_factory=dict)
    faults: list[Skip] = field(default_factory=list)
    """Boxes that are left out."""


@CONVERTERS.register_module('flickr30k_entities')
class Flickr30kEntities(Converter):
    """A row a caption. Phrases whose entity has no box (scenes, things out of sight) stay plain text.

    drop_unrelated   leave out the captions that UNRELATED_CAPTIONS lists as of another image
    """

    splits = {name: (f'{name}.txt', 'Sentences', 'Annotations') for name in ('train', 'val', 'test')}
    image_field = 'image_id'

    def __init__(self, root: Path, drop_unrelated: bool = False) -> None:
        super().__init__(root)
        self.drop_unrelated = drop_unrelated

    def rows(self, split: str) -> Iterator[Row | Skip]:
        unrelated = self.unrelated() if self.drop_unrelated else set()
        number = 0
        for name in (self.root / self.splits[split][0]).read_text(encoding='utf-8').split():
            sentences = self.root / 'Sentences' / f'{name}.txt'
            boxes = self.root / 'Annotations' / f'{name}.xml'
            if not sentences.is_file() or not boxes.is_file():
                yield Skip(f'image without {"Sentences" if not sentences.is_file() else "Annotations"} file')
                continue
            annotation = self.read_annotation(boxes)
            yield from annotation.faults
            for position, line in enumerate(sentences.read_text(encoding='utf-8').splitlines()):
                if not line.strip():
                    continue
                if (name, position) in unrelated:
                    yield Skip('caption of another image')
                    continue
                yield {'id': number, 'image_id': name, **self.row(line.strip(), annotation)}
                number += 1

    def row(self, line: str, annotation: Annotation) -> Row:
        boxes: list[list[float]] = []
        first: dict[str, int] = {}
        groups: list[list[int]] = []

        def written(match: re.Match[str]) -> str:
            entity, phrase = match[1], match[3]
            if entity == NOT_VISUAL or entity not in annotation.boxes:
                return phrase
            if entity not in first:
                first[entity] = len(boxes)
                boxes.extend(annotation.boxes[entity])
            start = first[entity]
            groups.append(list(range(start, start + len(annotation.boxes[entity]))))
            return f'{START}{phrase}{END}'

        sentence = PHRASE.sub(written, line)
        return {
            'sentence': sentence,
            'boxes': boxes,
            'boxes_seq': groups,
            'height': annotation.height,
            'width': annotation.width,
        }

    def read_annotation(self, path: Path) -> Annotation:
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise ValueError(f'{path}: not whole XML ({error}); fetch it again') from error
        size = {key: int(root.findtext(f'size/{key}') or 0) for key in ('width', 'height')}
        annotation = Annotation(size['width'], size['height'])
        for entry in root.findall('object'):
            place = entry.find('bndbox')
            if place is None:
                continue
            # Pixels count from 1 in the files, from 0 in rows.
            box = [float(place.findtext(key) or 0) - 1 for key in ('xmin', 'ymin', 'xmax', 'ymax')]
            clipped = self.clip(box, annotation.width, annotation.height)
            if isinstance(clipped, Skip):
                annotation.faults.append(clipped)
                continue
            for name in entry.findall('name'):
                annotation.boxes.setdefault(str(name.text), []).append(clipped)
        return annotation

    def unrelated(self) -> set[tuple[str, int]]:
        """(image, position from 0) of captions that are of another image."""
        path = self.root / 'UNRELATED_CAPTIONS'
        lines = [line.split() for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
        return {(line[0], int(line[1]) - 1) for line in lines if len(line) == 2 and line[1].isdigit()}
