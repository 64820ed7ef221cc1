"""data/emoji as it ships, and the steps of tools/emoji that need no network."""

import importlib
import io
import json
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

SPLITS = ('train', 'val', 'test')
QUESTIONS = ('invented', 'invented_real_name')
Rows = list[dict[str, Any]]
Tool = Callable[[str], ModuleType]

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" fill="{}"/></svg>'


@pytest.fixture(scope='module')
def folder(root: Path) -> Path:
    return root / 'data/emoji'


@pytest.fixture(scope='module')
def pairs(folder: Path) -> dict[str, Rows]:
    return {name: read_rows(folder / f'{name}_pairs.jsonl') for name in SPLITS}


@pytest.fixture(scope='module')
def questions(folder: Path) -> dict[str, Rows]:
    return {name: read_rows(folder / f'{name}.jsonl') for name in QUESTIONS}


@pytest.fixture(scope='module')
def pictures(folder: Path) -> dict[str, Image.Image]:
    with zipfile.ZipFile(folder / 'images.zip') as archive:
        return {name: Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()}


@pytest.fixture
def tool(root: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.syspath_prepend(str(root / 'tools/emoji'))
    return importlib.import_module


def read_rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def family(path: str) -> str:
    return path.split('/')[0]


def test_it_is_small_enough_to_be_committed(folder: Path):
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6e6


def test_concepts_are_in_one_split_only(pairs: dict[str, Rows]):
    for key in ('class_id', 'class_name'):
        values = [row[key] for rows in pairs.values() for row in rows]
        assert len(values) == len(set(values))
    assert [len(pairs[name]) for name in SPLITS] == [834, 100, 200]


def test_names_are_short_lower_case_ascii(pairs: dict[str, Rows]):
    for row in [row for rows in pairs.values() for row in rows]:
        assert row['class_name'] == row['class_name'].lower().strip()
        assert 0 < len(row['class_name'].encode('ascii')) <= 24


def test_neighbours_are_other_concepts_of_the_same_split(pairs: dict[str, Rows]):
    for rows in pairs.values():
        by_id = {row['class_id']: row for row in rows}
        for row in rows:
            ids = [class_id for class_id, _, _ in row['neighbors']]
            assert len(ids) == len(set(ids)) >= 6
            assert row['class_id'] not in ids
            for class_id, name, path in row['neighbors']:
                assert by_id[class_id]['class_name'] == name
                assert path in by_id[class_id]['samples']


def test_every_picture_belongs_to_one_concept_and_is_there(pairs: dict[str, Rows], pictures: dict[str, Image.Image]):
    paths = [path for rows in pairs.values() for row in rows for path in row['samples']]
    assert len(paths) == len(set(paths))
    assert set(paths) == {path for path in pictures if '/invented-' not in path}


def test_pictures_can_be_seen(pictures: dict[str, Image.Image]):
    assert {image.size for image in pictures.values()} == {(48, 48)}
    for path, image in pictures.items():
        rgba = np.asarray(image.convert('RGBA')).astype(float) / 255
        on_white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        assert (on_white.min(-1) < 0.9).mean() >= 0.01, path


def test_no_two_concepts_of_a_style_have_the_same_picture(pairs: dict[str, Rows], pictures: dict[str, Image.Image]):
    seen: dict[tuple[str, bytes], str] = {}
    for path in [path for rows in pairs.values() for row in rows for path in row['samples']]:
        key = (path.rsplit('/', 1)[0], pictures[path].convert('RGBA').tobytes())
        assert seen.setdefault(key, path) == path


def test_support_can_come_from_other_families_than_the_query(pairs: dict[str, Rows]):
    for name, rows in pairs.items():
        for row in rows:
            families = Counter(family(path) for path in row['samples'])
            assert len(families) >= 2
            if name != 'train':  # four shots of other families, whatever the query
                assert families.total() - max(families.values()) >= 4, row['class_name']


@pytest.mark.parametrize('kind', QUESTIONS)
def test_questions_come_in_balanced_twos(questions: dict[str, Rows], kind: str):
    rows = questions[kind]
    assert len(rows) >= 500
    assert len(rows) % 2 == 0
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        same = ('positive_list', 'negative_list', 'positive_promt', 'negative_promt')
        assert [one[key] for key in same] == [two[key] for key in same]
        assert (one['label_name'], two['label_name']) == (one['positive_promt'], two['negative_promt'])


@pytest.mark.parametrize('kind', QUESTIONS)
def test_four_supports_of_other_families_show_the_right_concept(
    questions: dict[str, Rows], pairs: dict[str, Rows], pictures: dict[str, Image.Image], kind: str
):
    concept_of = {path: row['class_name'] for row in pairs['test'] for path in row['samples']}
    concept_of |= {path: Path(path).stem.split('-')[0] for path in pictures if '/invented-' in path}
    for row in questions[kind]:
        assert concept_of[row['image_name']] == row['label_name']
        for side in ('positive', 'negative'):
            paths = row[f'{side}_list']
            assert {concept_of[path] for path in paths} == {row[f'{side}_promt']}
            families = {family(path) for path in paths}
            assert len(families) >= 4
            assert family(row['image_name']) not in families


def test_invented_words_are_no_names_and_real_names_are_of_test_concepts(
    questions: dict[str, Rows], pairs: dict[str, Rows]
):
    names = {row['class_name'] for rows in pairs.values() for row in rows}
    words = {row['positive_promt'] for rows in questions.values() for row in rows}
    assert len(words) >= 40
    assert all(len(word) == 4 and not set(word) & set('aeiouy') for word in words)
    assert not words & names
    assert {row['negative_promt'] for row in questions['invented']} <= words
    assert {row['negative_promt'] for row in questions['invented_real_name']} <= {
        r['class_name'] for r in pairs['test']
    }


def test_every_invented_concept_is_drawn_in_at_least_four_families(pictures: dict[str, Image.Image]):
    drawn: dict[str, set[str]] = {}
    for path in [path for path in pictures if '/invented-' in path]:
        drawn.setdefault(Path(path).stem.split('-')[0], set()).add(family(path))
    assert min(len(families) for families in drawn.values()) >= 4


def test_the_notice_names_every_art_family(root: Path, pictures: dict[str, Image.Image]):
    notice = (root / 'NOTICE').read_text()
    assert all(f'{name}/' in notice for name in {family(path) for path in pictures})
    assert 'rasterised' in notice
    assert 'composed' in notice


@pytest.mark.parametrize(
    ('label', 'name'),
    [
        ('Pi\u00f1ata', 'pinata'),
        ('woman\u2019s hat', 'womans hat'),
        ('grinning face with big eyes', 'grinning with big eyes'),
        ('cloud with lightning and rain', 'cloud lightning rain'),
        ('a label that is far too long to be shortened', None),
    ],
)
def test_names_are_shortened_by_rule(tool: Tool, label: str, name: str | None):
    assert tool('concepts').plain_name(label) == name


def test_only_concepts_with_enough_pictures_are_asked_about(tool: Tool, monkeypatch: pytest.MonkeyPatch):
    concepts = tool('concepts')
    monkeypatch.setattr(concepts, 'SPLIT_SIZES', {'test': 4, 'val': 2})
    made = [concepts.Concept(f'c{n}', f'c{n}', 'g', f's{n % 3}', {}) for n in range(24)]
    few, many = ['noto/std/x.png'] * 3, [f'{name}/std/x.png' for name in 'abcde']
    samples = {concept.name: few if n % 2 else many for n, concept in enumerate(made)}
    splits = concepts.split(made, samples, 0)
    assert {name: len(members) for name, members in splits.items()} == {'test': 4, 'val': 2, 'train': 18}
    assert all(samples[concept.name] is many for name in ('test', 'val') for concept in splits[name])
    assert sorted(concept.name for members in splits.values() for concept in members) == sorted(samples)
    assert splits == concepts.split(made, samples, 0)
    assert splits != concepts.split(made, samples, 1)


def test_neighbours_begin_with_the_own_subgroup(tool: Tool):
    concepts = tool('concepts')
    places = [('food', 'fruit'), ('food', 'drink'), ('sky', 'moon'), ('food', 'fruit'), ('sky', 'moon')]
    made = [concepts.Concept(str(n), str(n), group, subgroup, {}) for n, (group, subgroup) in enumerate(places)]
    near = [concept.name for concept in concepts.neighbors(made[0], made, random.Random(0))]
    assert near[:2] == ['3', '1']
    assert sorted(near[2:]) == ['2', '4']


def test_a_picture_is_coded_with_its_opacity(tool: Tool):
    render = tool('render')
    svg = SQUARE.format('red').replace('width="8" height="8"', 'width="4" height="8"')
    image = render.rasterise(svg)
    coded = Image.open(io.BytesIO(render.encode(image)))
    assert coded.mode == 'P'
    assert np.array_equal(np.asarray(coded.convert('RGBA')), np.asarray(image))
    assert render.is_blank(render.rasterise(SQUARE.format('white')))
    assert not render.is_blank(image)


def test_an_invented_picture_is_recoloured_and_reproducible(tool: Tool):
    invent = tool('invent')
    recipe = (SQUARE.format('red'), SQUARE.format('gray'), 'inside', 120, (0.0, 0.0, 1.0))
    picture = np.asarray(invent.compose(*recipe))
    assert np.array_equal(picture, np.asarray(invent.compose(*recipe)))
    corner, middle = picture[2, 2, :3].astype(int), picture[24, 24, :3].astype(int)
    assert corner.argmax() == 1  # a third of the circle from red is green
    assert middle[1] > middle[0]  # a grey part has the colour as well
    assert not np.array_equal(corner, middle)


def test_a_package_that_is_not_the_pinned_one_is_refused(tool: Tool, tmp_path: Path):
    packages = tool('packages')
    for package in packages.PINNED:
        (tmp_path / packages.tarball_name(package)).write_bytes(b'something else')
    with pytest.raises(ValueError, match=r'iconify-json-noto-1\.2\.9\.tgz'):
        packages.fetch(tmp_path)


def test_a_check_finds_one_changed_pixel_and_one_changed_row(tool: Tool, tmp_path: Path):
    build, render = tool('build'), tool('render')
    folders = [tmp_path / 'a', tmp_path / 'b']
    for where in folders:
        where.mkdir()
        for name in (*(f'{split}_pairs' for split in SPLITS), *QUESTIONS):
            build.write_lines(where / f'{name}.jsonl', [{'class_id': '1'}])
        render.write_archive(where / 'images.zip', {'a/std/x.png': render.encode(Image.new('RGBA', (4, 4), 'red'))})
    assert build.differences(*folders) == []
    assert (folders[0] / 'images.zip').read_bytes() == (folders[1] / 'images.zip').read_bytes()
    changed = Image.new('RGBA', (4, 4), 'red')
    changed.putpixel((1, 1), (0, 0, 255, 255))
    render.write_archive(folders[1] / 'images.zip', {'a/std/x.png': render.encode(changed)})
    build.write_lines(folders[1] / 'val_pairs.jsonl', [{'class_id': '2'}])
    assert build.differences(*folders) == ['val_pairs.jsonl: rows differ', 'images.zip: a/std/x.png has other pixels']
