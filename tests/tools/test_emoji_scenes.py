"""The emoji scenes: boxes are what is seen, expressions name one thing, and splits share no layout."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mllm.dataset.single_image_dataset.clevr_program import run_program
from mllm.utils.image_io import load_image

COUNTS = {'train': 30, 'val': 5, 'test': 10, 'test_art': 5}
Rows = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope='module')
def tool(root: Path) -> Callable[[str], ModuleType]:
    sys.path.insert(0, str(root / 'tools' / 'emoji'))
    return importlib.import_module


@pytest.fixture(scope='module')
def built(tool: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('scenes')
    tool('build_scenes').build(folder, COUNTS, 0, Console(quiet=True))
    return folder


@pytest.fixture(scope='module')
def rows(built: Path) -> Rows:
    return lambda name: [json.loads(line) for line in (built / f'{name}.jsonl').read_text().splitlines()]


@pytest.fixture(scope='module')
def drawn(tool: Callable[[str], ModuleType]) -> list[Any]:
    build = tool('build_scenes')
    return [scene for scene, _ in build.draw_split('train', 60, 0, set())]


def test_boxes_are_the_extent_of_what_is_seen(tool: Callable[[str], ModuleType]):
    scenes = tool('scenes')
    art = scenes.read_art(Path(scenes.__file__).parents[2] / 'data' / 'emoji', scenes.STYLES)
    rng = np.random.default_rng(3)
    for _ in range(20):
        placed = None
        while placed is None:
            placed = scenes.place(rng, [art[name][0] for name in scenes.draw_names(rng, sorted(art))])
        assert 2 <= len(placed) <= 4
        everything = np.zeros((scenes.SIDE, scenes.SIDE), bool)
        for thing, picture in placed:
            canvas = Image.new('RGBA', (scenes.SIDE, scenes.SIDE))
            canvas.paste(picture, thing.box[:2])
            opaque = np.asarray(canvas)[..., 3] > scenes.OPAQUE
            ys, xs = np.nonzero(opaque)
            assert thing.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert not (everything & opaque).any(), 'things touch'
            everything |= opaque


def said_of(expression: str, things: list[Any]) -> list[Any]:
    """The things that an expression names, read back word by word and independently of how it was made."""
    words = expression.split()
    centre = {id(thing): ((thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2) for thing in things}
    if words[-1] == 'thing':
        return [thing for thing in things if thing.art.colour == words[1]]
    if len(words) == 2:
        return [thing for thing in things if thing.name == words[1]]
    if len(words) == 3:
        axis, sign = {'left': (0, 1), 'right': (0, -1), 'top': (1, 1), 'bottom': (1, -1)}[words[1]]
        named = [thing for thing in things if thing.name == words[2]]
        return [min(named, key=lambda thing: sign * centre[id(thing)][axis])] if len(named) == 2 else named
    axis, sign = {'left': (0, 1), 'right': (0, -1), 'above': (1, 1), 'below': (1, -1)}[words[2]]
    (anchor,) = [thing for thing in things if thing.name == words[-1]]
    return [
        thing
        for thing in things
        if thing.name == words[1] and sign * (centre[id(anchor)][axis] - centre[id(thing)][axis]) > 0
    ]


def test_every_expression_names_exactly_one_thing(tool: Callable[[str], ModuleType], drawn: list[Any]):
    kinds = set()
    for scene in drawn:
        for kind, expression, thing in tool('scene_rows').expressions(scene):
            kinds.add(kind)
            assert said_of(expression, list(scene.things)) == [thing], expression
    assert kinds == {'name', 'colour', 'position', 'relation'}


@pytest.mark.parametrize(
    ('pixel', 'name'),
    [
        ((255, 0, 0), 'red'),
        ((255, 140, 0), 'orange'),
        ((250, 220, 40), 'yellow'),
        ((40, 160, 60), 'green'),
        ((50, 90, 220), 'blue'),
        ((120, 60, 20), 'brown'),
        ((128, 128, 128), 'gray'),
        ((250, 250, 250), 'white'),
        ((10, 10, 10), 'black'),
    ],
)
def test_colours_have_their_names(tool: Callable[[str], ModuleType], pixel: tuple[int, int, int], name: str):
    picture = Image.new('RGBA', (4, 4), (*pixel, 255))
    assert tool('scenes').colour_shares(picture) == {name: 1.0}


def test_equal_arguments_give_equal_files(tool: Callable[[str], ModuleType], built: Path, tmp_path: Path):
    counts = tool('build_scenes').build(tmp_path, COUNTS, 0, Console(quiet=True))
    assert {f'{path.name}' for path in built.iterdir()} == {*counts, 'images.zip'}
    for path in built.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_splits_share_no_layout(rows: Rows):
    layouts = [
        frozenset((row['sentence'], json.dumps(row['boxes'])) for row in rows(f'caption_{split}')) for split in COUNTS
    ]
    assert [len(split) for split in layouts] == list(COUNTS.values())
    assert len(frozenset.union(*layouts)) == sum(COUNTS.values())


def test_the_unseen_art_is_in_one_split_alone(tool: Callable[[str], ModuleType], rows: Rows):
    unseen = tool('scenes').UNSEEN_STYLE
    for split in COUNTS:
        styles = {entry['material'] for row in rows(f'clevr_scenes_{split}') for entry in row['objects']}
        assert (styles == {unseen}) == (split == 'test_art')
        assert (unseen in styles) == (split == 'test_art')


def test_rows_of_the_six_tasks(built: Path, rows: Rows):
    image = load_image('test/00003.jpg', str(built / 'images.zip'))
    assert image.size == (96, 96)
    everything = rows('rec_test')
    assert sum(len(rows(f'rec_{kind}_test')) for kind in ('name', 'colour', 'position', 'relation')) == len(everything)
    said = {(row['img_path'], row['expression']): row['bbox'] for row in everything}
    assert len(said) == len(everything)
    for row in rows('reg_test'):
        assert row['expression'] == row['references'][0]
        assert all(said[row['img_path'], text] == row['bbox'] for text in row['references'])
    for row in rows('choice_test'):
        assert row['candidates'].count(row['answer']) == 1
        assert len(row['candidates']) <= 4
    for row in rows('point_qa_test'):
        (x0, y0, x1, y1), (x, y) = row['bbox'], row['point']
        assert x0 <= x <= x1
        assert y0 <= y <= y1
    for row in rows('caption_test'):
        assert row['sentence'].count('<ph_st>') == row['sentence'].count('<ph_ed>') == len(row['boxes_seq'])
        assert [number for group in row['boxes_seq'] for number in group] == list(range(len(row['boxes'])))


def test_counting_programs_give_their_answers(rows: Rows):
    scenes = rows('clevr_scenes_test')
    asked = rows('clevr_test')
    for row in asked:
        assert str(run_program(row['program'], scenes[row['image_index']])[-1]) == row['answer']
    assert {'0', '1', '2'} <= {row['answer'] for row in asked}


@pytest.mark.parametrize(
    ('name', 'plural'), [('key', 'keys'), ('strawberry', 'strawberries'), ('bus', 'buses'), ('car', 'cars')]
)
def test_plurals(tool: Callable[[str], ModuleType], name: str, plural: str):
    assert tool('scene_rows').plural(name) == plural
