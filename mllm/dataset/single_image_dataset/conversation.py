"""Stage 2 of a sample's way for ready conversations: LLaVA's instruction data, and people's own files.

InstructDataset       {"id", "image", "conversations": [{"from", "value"}, ...]}, as LLaVA has it
ConversationDataset   that (and ShareGPT), or OpenAI's {"messages": [{"role", "content"}, ...]}, with any images
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mllm.dataset.single_image_dataset.base import AnnotatedDataset, BoxUnit, Row, field
from mllm.registry import DATASETS, nearest
from mllm.types import IMAGE_PLACEHOLDER, RawItem, Turn
from mllm.utils.image_io import decode, original_size
from mllm.utils.rng import ItemRng

if TYPE_CHECKING:
    from PIL import Image

COCO_PREFIX = 'COCO_train2014_'
ROLES = {'human': 'human', 'user': 'human', 'gpt': 'gpt', 'assistant': 'gpt', 'model': 'gpt', 'chatgpt': 'gpt'}
"""What layouts call the two that talk -> what turns call them; `system` is told apart."""
SYSTEM = 'system'
TURNS = ('conversations', 'conversation', 'messages')
IMAGES = ('images', 'image')
DATA_URL = re.compile(r'data:image/[\w.+-]+;base64,(.*)', re.DOTALL)


@DATASETS.register_module()
class InstructDataset(AnnotatedDataset):
    """Conversations as they stand, each with one image or none. `add_coco_prefix` for image names of COCO 2014."""

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        box_unit: BoxUnit | None = None,
        add_coco_prefix: bool = False,
    ) -> None:
        super().__init__(filename, image_folder, box_unit)
        self.add_coco_prefix = add_coco_prefix

    def image_path(self, row: Row) -> str | None:
        if row.get('image') is None:
            return None
        return (COCO_PREFIX if self.add_coco_prefix else '') + field(row, 'image', str)

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        item: dict[str, Any] = {'conversations': read_turns(field(row, 'conversations', list))}
        if 'id' in row:
            item['meta'] = {'id': row['id']}
        if row.get('target') is not None:
            item['target'] = row['target']
        return item  # type: ignore[return-value]


@DATASETS.register_module()
class ConversationDataset(AnnotatedDataset):
    """Conversations of several layouts, told by their fields, a row at a time.

    conversations / messages   turns with `from` and `value`, or `role` and `content`; a content may be a list of parts
                               {"type": "text"} and {"type": "image"} or {"type": "image_url"}
    image / images             a path, a data URL, or a list of them
    system                     what a first system turn says, or this field, is put before the first question
    target, boxes_seq, ...     of turns and items as in the contract of items, where boxes are wanted

    Images stand where <image> stands in the questions; without any <image>, all at the head of the first one.
    """

    def image_paths(self, row: Row) -> list[str]:
        """The images of a row, in the order of their placeholders."""
        given = next((row[key] for key in IMAGES if row.get(key) is not None), [])
        paths = [given] if isinstance(given, str) else list(given)
        paths = [path.get('path', path.get('url')) if isinstance(path, Mapping) else path for path in paths]
        inline = [image for turn in turns_of(row) for image in parts_of(turn)[1]]
        named = [path for path in inline if path is not None]
        if named and paths:
            raise ValueError(f'{len(named)} images stand in the content of messages, others in image(s); leave one out')
        wrong = [path for path in (named or paths) if not isinstance(path, str)]
        if wrong:
            raise ValueError(f'an image is {repr(wrong[0])[:60]}; expected a path or a data URL')
        return named or paths

    def image_path(self, row: Row) -> str | None:
        return '\n'.join(self.image_paths(row)) or None

    def image_key(self, index: int) -> str | None:
        paths = self.image_paths(self.get_row(index))
        return self.key_of(paths[0]) if len(paths) == 1 else '\n'.join(map(self.key_of, paths)) or None

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        turns = turns_of(row)
        system = str(row.get('system') or '')
        if turns and str(turns[0].get('from', turns[0].get('role'))).lower() == SYSTEM:
            system, turns = parts_of(turns[0])[0], turns[1:]
        read = read_turns(turns)
        place_images(read, len(self.image_paths(row)))
        if system.strip() and read:
            read[0]['value'] = f'{system.strip()}\n{read[0]["value"]}'
        item: dict[str, Any] = {'conversations': read}
        if 'id' in row:
            item['meta'] = {'id': row['id']}
        if row.get('target') is not None:
            item['target'] = row['target']
        return item  # type: ignore[return-value]

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        row = self.get_row(index)
        item, paths = self.make_item(row, rng), self.image_paths(row)
        if not paths:
            return item
        images, meta = [self.load(path) for path in paths], {**(item.get('meta') or {}), 'image_path': shown(paths)}
        target = item.get('target')
        if len(images) == 1 and not isinstance(target, list):
            target = target and self.in_pixels(target, original_size(images[0]))
            return {**item, 'image': images[0], 'target': target, 'meta': meta}
        if isinstance(target, list):
            target = [each and self.in_pixels(each, original_size(image)) for each, image in zip(target, images)]
        return {**item, 'image': images, 'target': target, 'meta': meta}

    def load(self, path: str) -> Image.Image:
        match = DATA_URL.fullmatch(path)
        if match is None:
            return self.get_image(path.removeprefix('file://'))
        try:
            data = base64.b64decode(match[1], validate=True)
        except binascii.Error as error:
            raise ValueError(f'an image is given as a data URL that is not base64 ({error})') from error
        return decode(data, 'a data URL')


def shown(paths: Sequence[str]) -> str | list[str]:
    names = [f'{path[:40]}...' if DATA_URL.fullmatch(path) else path for path in paths]
    return names[0] if len(names) == 1 else names


def turns_of(row: Row) -> list[Mapping[str, Any]]:
    """The turns of a row, under whatever name; ValueError with the fields there are."""
    for key in TURNS:
        if key in row:
            turns = field(row, key, list)
            wrong = [turn for turn in turns if not isinstance(turn, Mapping)]
            if wrong:
                raise ValueError(f'{key}: a turn is {repr(wrong[0])[:60]}; expected an object')
            return turns
    raise ValueError(f'no conversations or messages; this row has {", ".join(map(str, row))}')


def parts_of(turn: Mapping[str, Any]) -> tuple[str, list[str | None]]:
    """The text of a turn, with <image> for each image among its parts, and their paths (None where it has none)."""
    content = turn.get('value', turn.get('content'))
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise ValueError(f'a turn says {repr(content)[:60]}; expected text, or a list of parts')
    texts, images = [], []
    for part in content:
        kind = part.get('type') if isinstance(part, Mapping) else None
        if kind == 'text':
            texts.append(field(part, 'text', str))
        elif kind in ('image', 'image_url', 'input_image'):
            given = part.get('image_url', part.get('image', part.get('path', part.get('url'))))
            images.append(given.get('url') if isinstance(given, Mapping) else given)
            texts.append(IMAGE_PLACEHOLDER)
        else:
            raise ValueError(f"a part of a turn is {repr(part)[:60]}; expected type 'text', 'image' or 'image_url'")
    return '\n'.join(texts), images


def read_turns(turns: Sequence[Any]) -> list[Turn]:
    """Turns of any layout in ours; ValueError for another speaker, or for an order that does not alternate."""
    read: list[Turn] = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise ValueError(f'turn {number} is {repr(turn)[:60]}; expected an object')
        name = str(turn.get('from', turn.get('role'))).lower()
        if name not in ROLES:
            raise ValueError(f'turn {number} is from {name!r}{nearest(name, ROLES)}')
        kept = {key: turn[key] for key in ('boxes_seq', 'points_seq', 'supervised') if turn.get(key) is not None}
        read.append(Turn({'from': ROLES[name], 'value': parts_of(turn)[0], **kept}))  # type: ignore[typeddict-item]
        if number and read[-1]['from'] == read[-2]['from']:
            raise ValueError(f'turns {number - 1} and {number} are both from {name!r}; join them')
    if read and read[-1]['from'] == 'human':
        raise ValueError('the last turn is a question; write its answer, or leave it out')
    return read


def place_images(turns: list[Turn], images: int) -> None:
    """Put <image> at the head of the first question for images that no text places."""
    placed = sum(turn['value'].count(IMAGE_PLACEHOLDER) for turn in turns)
    if turns and placed == 0 and images:
        turns[0]['value'] = f'{IMAGE_PLACEHOLDER}\n' * images + turns[0]['value']
