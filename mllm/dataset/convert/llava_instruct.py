"""Before stage 1 of a sample's way: LLaVA's instruction files, arrays of conversations -> the same rows, one a line."""

from __future__ import annotations

from collections.abc import Iterator

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items
from mllm.dataset.single_image_dataset.conversation import read_turns
from mllm.registry import CONVERTERS
from mllm.types import IMAGE_PLACEHOLDER


@CONVERTERS.register_module('llava_instruct')
class LLaVAInstruct(Converter):
    """Rows stay as they are; conversations that do not alternate, or name another number of images, are left out."""

    splits = {
        name: (f'{name}.json',)
        for name in (
            *('llava_instruct_150k', 'llava_instruct_80k', 'llava_v1_5_mix665k'),
            *('blip_laion_cc_sbu_558k', 'chat'),
        )
    }
    image_field = 'image'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        for row in stream_items(self.root / self.splits[split][0]):
            if not isinstance(row, dict) or 'conversations' not in row:
                raise ValueError(
                    f'{self.root / self.splits[split][0]}: a row has no conversations; is it another file?'
                )
            try:
                turns = read_turns(row['conversations'])
            except ValueError as error:
                yield Skip(str(error))
                continue
            asked = sum(turn['value'].count(IMAGE_PLACEHOLDER) for turn in turns)
            yield row if asked == int('image' in row) else Skip(f'{int("image" in row)} images, and {asked} <image>')
