"""Before stage 1 of a sample's way: CLEVR -> rows of `clevr.ClevrDataset`, and scenes one a line by `image_index`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from mllm.dataset.convert.base import Converter, Row, Skip
from mllm.dataset.convert.json_stream import stream_items
from mllm.dataset.single_image_dataset.clevr_program import checked_outputs, function_of
from mllm.registry import CONVERTERS


@CONVERTERS.register_module('clevr')
class CLEVR(Converter):
    """Questions with the outputs of their steps (`ans`), found by running the program on the scene; and the scenes.

    A program that does not give the answer is left out, and counted. Images of a row lie below `images/{split}`.
    """

    splits = {
        **{
            name: (f'questions/CLEVR_{name}_questions.json', f'scenes/CLEVR_{name}_scenes.json')
            for name in ('train', 'val')
        },
        'test': ('questions/CLEVR_test_questions.json',),
        **{f'{name}_scenes': (f'scenes/CLEVR_{name}_scenes.json',) for name in ('train', 'val')},
    }
    image_field = 'image_filename'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        if split.endswith('_scenes'):
            yield from self.scene_rows(split)
            return
        path, *scenes = (self.root / name for name in self.splits[split])
        known = self.scenes(split) if scenes else {}
        for row in stream_items(path, 'questions.item'):
            yield self.row(row, known) if known else row

    def scene_rows(self, split: str) -> Iterator[Row]:
        path = self.root / self.splits[split][0]
        for number, scene in enumerate(stream_items(path, 'scenes.item')):
            if scene['image_index'] != number:
                raise ValueError(f'{path}: scene {number} has image_index {scene["image_index"]}; scenes have a gap')
            yield scene

    @functools.cache  # noqa: B019 - one converter lives as long as the program
    def scenes(self, split: str) -> dict[int, Mapping[str, Any]]:
        """What programs need of each scene."""
        path = self.root / self.splits[f'{split}_scenes'][0]
        return {
            scene['image_index']: {'objects': scene['objects'], 'relationships': scene.get('relationships')}
            for scene in stream_items(path, 'scenes.item')
        }

    def row(self, row: Row, scenes: Mapping[int, Mapping[str, Any]]) -> Row | Skip:
        scene = scenes.get(row['image_index'])
        if scene is None:
            return Skip('no scene of its image')
        try:
            outputs = checked_outputs(row['program'], scene, row['answer'])
        except ValueError as error:
            return Skip(f'program: {str(error).split(";")[0]}')
        steps = [
            {
                'function': function_of(step),
                'inputs': step['inputs'],
                'value_inputs': step.get('value_inputs', step.get('side_inputs', [])),
                'ans': output,
            }
            for step, output in zip(row['program'], outputs, strict=True)
        ]
        return {**row, 'program': steps}
