"""Stage 2 of a sample's way for CLEVR: counting and comparing solids. The metric is `GQAComputeMetrics`.

Rows: the official questions, one a line; scenes: one a line, in the order of `image_index`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row, choice_faults, field, two_turns
from mllm.dataset.single_image_dataset.clevr_program import checked_outputs, function_of
from mllm.registry import DATASETS
from mllm.types import IMAGE_PLACEHOLDER, POINTS_PLACEHOLDER, QUESTION_PLACEHOLDER, RawItem
from mllm.utils.json_rows import Rows, open_rows
from mllm.utils.rng import ItemRng

Version = Literal['q-a', 'q-s', 'q-bs']
NO_OBJECT = ' Found no object.'
SHOWN = ('unique', 'union', 'intersect', 'relate')
"""Functions whose objects are always shown; those of scene and filter_* only before `count` and `exist`."""


@DATASETS.register_module()
class ClevrDataset(MInstrDataset):
    """`version` 'q-a': the answer alone; 'q-s': after the steps of its program; 'q-bs': with points of what they find.

    The program of the last two is run on the scene: one that does not give the answer is an error.
    """

    placeholders = (IMAGE_PLACEHOLDER, QUESTION_PLACEHOLDER)
    image_field = 'image_filename'

    def __init__(
        self,
        filename: str,
        image_folder: str | None = None,
        *,
        scene_graph_file: str | None = None,
        version: Version = 'q-a',
        **common: Any,
    ) -> None:
        super().__init__(filename, image_folder, **common)
        self.scene_graph_file = scene_graph_file
        faults = choice_faults('version', version, get_args(Version))
        if not faults and version != 'q-a' and scene_graph_file is None:
            faults.append(f'version={version!r} runs programs on scenes; give scene_graph_file')
        self.refuse(faults)
        self.version = version

    @functools.cached_property
    def scenes(self) -> Rows:
        return open_rows(str(self.scene_graph_file))

    def scene(self, row: Row) -> Mapping[str, Any]:
        number = field(row, 'image_index', int)
        if not 0 <= number < len(self.scenes):
            raise ValueError(f'image_index is {number}; {self.scene_graph_file} has {len(self.scenes)} scenes')
        scene = self.scenes[number]
        if scene.get('image_index', number) != number:
            raise ValueError(
                f'{self.scenes.where(number)} is the scene of image_index {scene["image_index"]}, not {number}; scenes '
                'must stand in the order of image_index'
            )
        return scene

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        question = self.get_template(rng).replace(QUESTION_PLACEHOLDER, field(row, 'question', str))
        answer = str(field(row, 'answer', (str, int, bool)))
        points: list[Any] = []
        last, groups = f'The answer is {answer}.', []
        if self.version != 'q-a':
            scene, program = self.scene(row), field(row, 'program', list)
            outputs = checked_outputs(program, scene, answer)
            text, groups, points = steps_text(program, outputs, scene, show=self.version == 'q-bs')
            last = f'{text} {last}'
        return {
            'target': {'points': points},
            'conversations': two_turns(question, last, answer_points=groups),
            'meta': {'answer': answer, **({'id': row['question_index']} if 'question_index' in row else {})},
        }

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.scene_graph_file is not None and not Path(self.scene_graph_file).is_file():
            yield f'{self.scene_graph_file}: no such file of scenes'


def steps_text(
    program: Sequence[Mapping[str, Any]], outputs: Sequence[Any], scene: Mapping[str, Any], show: bool
) -> tuple[str, list[list[int]], list[list[float]]]:
    """`scene -> filter_color:red[0] -> count[1]`, the points behind each step and all points."""
    names = [function_of(step) for step in program]
    steps, groups, points = [], [], []
    for number, (step, name) in enumerate(zip(program, names, strict=True)):
        values, inputs = step.get('value_inputs') or [], step.get('inputs') or []
        text = f'{name}:{values[0]}' if values else name
        text += f'[{",".join(map(str, inputs))}]' if inputs else ''
        if show and is_shown(name, names[number + 1 : number + 2]):
            found = outputs[number] if isinstance(outputs[number], list) else [outputs[number]]
            if found:
                text += POINTS_PLACEHOLDER
                groups.append([place(scene['objects'][entry], points) for entry in found])
            else:
                text += NO_OBJECT
        steps.append(text)
    return ' -> '.join(steps), groups, points


def is_shown(name: str, following: Sequence[str]) -> bool:
    if name in SHOWN or name.startswith('same_'):
        return True
    return (name == 'scene' or name.startswith('filter_')) and following[:1] in (['exist'], ['count'])


def place(entry: Mapping[str, Any], points: list[list[float]]) -> int:
    """The number of an object's point, which is added to `points` unless it is there."""
    point = list(entry['pixel_coords'][:2])
    if point not in points:
        points.append(point)
    return points.index(point)
