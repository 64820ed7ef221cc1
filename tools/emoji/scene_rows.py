"""Stage 2 of the emoji scenes: a scene -> rows of the six tasks, in the formats of the official datasets.

Every expression is true of exactly one thing of its scene. All boxes and points are pixels.
"""

from collections import Counter
from typing import Any

import numpy as np
from scenes import SIDE, Scene, Thing, apart

Row = dict[str, Any]

COLOURED, NOT_COLOURED = 0.6, 0.2
"""A thing is "the red thing" if so much of it is red, and so little of every other thing is red or nearly so."""
CLOSE = {
    'red': ('orange', 'pink', 'brown'),
    'orange': ('red', 'yellow', 'brown'),
    'yellow': ('orange',),
    'green': (),
    'blue': ('purple',),
    'purple': ('blue', 'pink'),
    'pink': ('red', 'purple'),
    'brown': ('red', 'orange'),
}
MARGIN = 10
"""A thing is left of another if its centre is so many pixels further left; likewise in the other directions."""
SIDES = {'left': (0, -1), 'right': (0, 1), 'top': (1, -1), 'bottom': (1, 1)}
RELATIONS = {'left of': (0, -1), 'right of': (0, 1), 'above': (1, -1), 'below': (1, 1)}
"""Axis, and sign of the difference of the centres."""
KINDS = ('name', 'colour', 'position', 'relation')
LEARNT = ('name', 'position', 'relation', 'colour')
"""Of several expressions for one thing, a model learns to say the first of these kinds."""
CANDIDATES = 4
LARGE = 34
"""Longer side in pixels from which CLEVR's `size` is large."""


def expressions(scene: Scene) -> list[tuple[str, str, Thing]]:
    """(kind, expression, the thing that it names) for all that can be said of the scene's things."""
    counts = Counter(thing.name for thing in scene.things)
    found = []
    for thing in scene.things:
        others = [other for other in scene.things if other is not thing]
        if counts[thing.name] == 1:
            found.append(('name', f'the {thing.name}', thing))
        if is_coloured(thing, others):
            found.append(('colour', f'the {thing.art.colour} thing', thing))
        twins = [other for other in others if other.name == thing.name]
        if len(twins) != 1:
            continue
        for side, direction in SIDES.items():
            if is_beyond(thing, twins[0], direction):
                found.append(('position', f'the {side} {thing.name}', thing))
        for anchor in others:
            if counts[anchor.name] > 1:
                continue
            for words, (axis, sign) in RELATIONS.items():
                if is_beyond(thing, anchor, (axis, sign)) and is_beyond(twins[0], anchor, (axis, -sign)):
                    found.append(('relation', f'the {thing.name} {words} the {anchor.name}', thing))
    return found


def is_coloured(thing: Thing, others: list[Thing]) -> bool:
    """Whether its colour tells a thing from all others."""
    colour = thing.art.colour
    if colour not in CLOSE or thing.art.colours[colour] < COLOURED:
        return False
    alike = (colour, *CLOSE[colour])
    return all(sum(other.art.colours.get(name, 0) for name in alike) < NOT_COLOURED for other in others)


def is_beyond(thing: Thing, other: Thing, direction: tuple[int, int]) -> bool:
    axis, sign = direction
    return sign * (thing.centre[axis] - other.centre[axis]) >= MARGIN


def rec_rows(scene: Scene, path: str) -> dict[str, list[Row]]:
    """Rows of RECDataset by kind of expression."""
    rows: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for kind, expression, thing in expressions(scene):
        row = {'img_path': path, 'expression': expression, 'bbox': list(thing.box), 'height': SIDE, 'width': SIDE}
        rows[kind].append(row)
    return rows


def reg_rows(scene: Scene, path: str) -> list[Row]:
    """Rows of REGDataset: each thing that can be told apart, with all that names it; the first is to be learnt."""
    said: dict[int, list[str]] = {}
    for _, expression, thing in sorted(expressions(scene), key=lambda entry: LEARNT.index(entry[0])):
        said.setdefault(scene.things.index(thing), []).append(expression)
    return [
        {'img_path': path, 'expression': texts[0], 'references': texts, 'bbox': list(scene.things[number].box)}
        for number, texts in sorted(said.items())
    ]


def point_qa_rows(scene: Scene, path: str) -> list[Row]:
    """What is it, and of which colour; rows of Point_QA_local."""
    rows = []
    for thing in scene.things:
        asked = [('What is this?', thing.name)]
        if is_coloured(thing, []):
            asked.append(('What color is this?', thing.art.colour))
        place = {'bbox': list(thing.box), 'point': list(thing.centre)}
        rows += [{'file_path': path, 'question': question, 'answer': answer, **place} for question, answer in asked]
    return rows


def choice_rows(scene: Scene, path: str, rng: np.random.Generator) -> list[Row]:
    """Which of four boxes; those that no thing fills are of the background. Rows of V7W_POINT."""
    boxes = [list(thing.box) for thing in scene.things]
    for _ in range(100):
        width, height = (int(length) for length in rng.integers(20, 41, 2))
        x, y = int(rng.integers(SIDE - width + 1)), int(rng.integers(SIDE - height + 1))
        box = [x, y, x + width, y + height]
        if len(boxes) < CANDIDATES and all(apart(tuple(box), tuple(other)) for other in boxes):  # type: ignore[arg-type]
            boxes.append(box)
    rows = []
    for kind, expression, thing in expressions(scene):
        if kind == 'name':
            question = f'Which is {expression}?'
            place = {'answer': list(thing.box), 'point': list(thing.centre)}
            rows.append({'file_path': path, 'question': question, 'candidates': boxes, **place})
    return rows


def clevr_scene(scene: Scene, path: str, number: int) -> Row:
    """A line of the scene file of ClevrDataset: shape is the name, material the art style."""
    objects = [
        {
            'shape': thing.name,
            'color': thing.art.colour,
            'size': 'large' if max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]) >= LARGE else 'small',
            'material': thing.art.style,
            'pixel_coords': [*thing.centre, 0.0],
        }
        for thing in scene.things
    ]
    return {'image_index': number, 'image_filename': path, 'objects': objects}


def clevr_rows(scene: Scene, path: str, number: int, names: list[str], rng: np.random.Generator) -> list[Row]:
    """Counting questions with their programs, rows of ClevrDataset: about each name there, and one that is not."""
    counts = Counter(thing.name for thing in scene.things)
    absent = [name for name in names if name not in counts]
    asked = {**counts, absent[int(rng.integers(len(absent)))]: 0}
    rows = [clevr_row('How many things are there?', len(scene.things), path, number, [step('scene'), step('count', 0)])]
    for name, count in asked.items():
        program = [step('scene'), step('filter_shape', 0, name), step('count', 1)]
        rows.append(clevr_row(f'How many {plural(name)} are there?', count, path, number, program))
    return rows


def step(function: str, given: int | None = None, value: str | None = None) -> Row:
    inputs, values = ([] if entry is None else [entry] for entry in (given, value))
    return {'function': function, 'inputs': inputs, 'value_inputs': values}


def clevr_row(question: str, answer: int, path: str, number: int, program: list[Row]) -> Row:
    image = {'image_filename': path, 'image_index': number}
    return {**image, 'question': question, 'answer': str(answer), 'program': program}


def caption_row(scene: Scene, path: str, number: int) -> Row:
    """A sentence that names all things from left to right, with the boxes of each phrase; a row of FlickrDataset."""
    groups: dict[str, list[Thing]] = {}
    for thing in sorted(scene.things, key=lambda thing: thing.box):
        groups.setdefault(thing.name, []).append(thing)
    phrases = [f'<ph_st>{phrase(name, len(things))}<ph_ed>' for name, things in groups.items()]
    sentence = ' , '.join(phrases[:-1]) + ' and ' + phrases[-1] if len(phrases) > 1 else phrases[0]
    boxes = [list(thing.box) for things in groups.values() for thing in things]
    numbers = iter(range(len(boxes)))
    return {
        'id': number,
        'image_id': path.removesuffix('.jpg'),
        'boxes': boxes,
        'sentence': f'{sentence} .',
        'boxes_seq': [[next(numbers) for _ in things] for things in groups.values()],
    }


def phrase(name: str, count: int) -> str:
    if count > 1:
        return f'{("two", "three")[count - 2]} {plural(name)}'
    return f'an {name}' if name[0] in 'aeiou' else f'a {name}'


def plural(name: str) -> str:
    if name.endswith('y') and name[-2] not in 'aeiou':
        return f'{name[:-1]}ies'
    return f'{name}es' if name.endswith('s') else f'{name}s'
