"""What all annotated datasets share: rows of either form, templates, units of boxes, and what needs no image."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.dataset.single_image_dataset.base import AnnotatedDataset, MInstrDataset, Row, field, two_turns
from mllm.types import Preprocessor, RawItem
from mllm.utils.faults import FaultsError
from mllm.utils.rng import ItemRng


class Kites(MInstrDataset):
    """Rows {"picture", "name", "box", "point"}; one without a picture is text alone."""

    placeholders = ('<image>',)
    image_field = 'picture'

    def image_path(self, row: Row) -> str | None:
        return super().image_path(row) if 'picture' in row else None

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        question = self.get_template(rng) if 'picture' in row else 'What is a kite?'
        target = {'boxes': [row['box']], 'points': [row['point']]} if 'box' in row else None
        return {'target': target, 'conversations': two_turns(question, field(row, 'name', str)), 'meta': {'id': 7}}


ROW = {'picture': 'a.png', 'name': 'red kite', 'box': [10, 20, 30, 40], 'point': [15, 25]}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Kites]:
    Image.new('RGB', (100, 50), (9, 9, 9)).save(tmp_path / 'a.png')

    def write(*rows: Any, array: bool = False, **arguments: Any) -> Kites:
        text = json.dumps(rows) if array else ''.join(json.dumps(row) + '\n' for row in rows)
        (tmp_path / 'kites.jsonl').write_text(text)
        templates = {} if 'template_file' in arguments else {'template_string': 'What is in <image>?'}
        return Kites(
            **{'filename': str(tmp_path / 'kites.jsonl'), 'image_folder': str(tmp_path), **templates, **arguments}
        )

    return write


@pytest.mark.parametrize('array', [False, True])
def test_lines_and_an_array(make: Callable[..., Kites], array: bool):
    dataset = make(ROW, ROW, {**ROW, 'name': 'blue kite'}, array=array)
    assert len(dataset) == 3, 'rows that occur twice stay'
    item = dataset[2]
    assert item['image'].size == (100, 50)
    assert item['target'] == {'boxes': [[10, 20, 30, 40]], 'points': [[15, 25]]}
    assert item['meta'] == {'id': 7, 'image_path': 'a.png'}
    assert [turn['value'] for turn in item['conversations']] == ['What is in <image>?', 'blue kite']
    assert dataset.describe(0).endswith('kites.jsonl:1')


def test_answers_and_images_are_known_without_reading_images(make: Callable[..., Kites], tmp_path: Path):
    dataset = make(ROW, {'name': 'a toy'}, {**ROW, 'picture': 'x/../a.png'})
    (tmp_path / 'a.png').unlink()
    assert [dataset.answer(index) for index in range(3)] == ['red kite', 'a toy', 'red kite']
    keys = [dataset.image_key(index) for index in range(3)]
    assert keys[1] is None
    assert keys[0] == keys[2] == str(tmp_path / 'a.png'), 'one image, however its path is written'


def test_a_row_without_image(make: Callable[..., Kites], preprocessor: Preprocessor):
    dataset = make({'name': 'a toy'})
    item = dataset[0]
    assert item.get('image') is None
    sample = EpisodeEncoder(preprocessor, training=True)(dataset.episode(0, ItemRng(0)), 0)
    assert sample.images is None


def test_normalised_boxes_are_refused_until_they_are_said_to_be(make: Callable[..., Kites]):
    row = {**ROW, 'box': [0.1, 0.2, 0.5, 1.0], 'point': [0.25, 0.5]}
    with pytest.raises(ValueError, match=r"between 0 and 1 \(\[0\.1, .* image of 100x50 pixels.*box_unit='normalised'"):
        make(row)[0]
    target = make(row, box_unit='normalised')[0]['target']
    assert target == {'boxes': [[10, 10, 50, 50]], 'points': [[25, 25]]}


def test_pixels_that_are_said_to_be_normalised(make: Callable[..., Kites]):
    with pytest.raises(ValueError, match=r"\[10, 20, 30, 40\] is not normalised to 0\.\.1; write box_unit='pixels'"):
        make(ROW, box_unit='normalised')[0]
    # A little outside is rounding, which is clipped as in pixels.
    row = {**ROW, 'box': [-0.01, 0.2, 0.5, 1.004], 'point': [0.5, 0.5]}
    assert make(row, box_unit='normalised')[0]['target']['boxes'] == [[-1, 10, 50, pytest.approx(50.2)]]


@pytest.mark.parametrize('unit', ['pixels', 'normalised'])
@pytest.mark.parametrize('box', [[1, 2, 3], 'box', None, [1, 2, 'a', 4], [[1, 2, 3, 4]]])
def test_what_is_no_box_is_told_as_such(make: Callable[..., Kites], preprocessor: Preprocessor, unit: str, box: Any):
    dataset = make({**ROW, 'box': box, 'point': [0.5, 0.5] if unit == 'normalised' else [5, 5]}, box_unit=unit)
    with pytest.raises(ValueError, match=r'box 0 .*expected four finite numbers'):
        EpisodeEncoder(preprocessor, training=True)(dataset.episode(0, ItemRng(0)), 0)


@pytest.mark.parametrize(
    ('box', 'fault'),
    [([30, 20, 10, 40], 'inverted'), ([10, 20, 10, 40], 'empty'), ([200, 20, 300, 40], 'wholly outside')],
)
def test_boxes_of_no_use(make: Callable[..., Kites], preprocessor: Preprocessor, box: list[int], fault: str):
    with pytest.raises(ValueError, match=rf'box 0 .*{fault}.* \(image 100x50'):
        EpisodeEncoder(preprocessor, training=True)(make({**ROW, 'box': box}).episode(0, ItemRng(0)), 0)


def test_a_box_that_sticks_out_is_clipped_and_counted(make: Callable[..., Kites], preprocessor: Preprocessor):
    episode = make({**ROW, 'box': [-5, 20, 130, 40]}).episode(0, ItemRng(0))
    assert EpisodeEncoder(preprocessor, training=True)(episode, 0).meta['clipped'] == 1


def test_templates_are_drawn_per_item(make: Callable[..., Kites], tmp_path: Path):
    templates = [f'Look {number} <image>' for number in range(8)]
    (tmp_path / 'templates.json').write_text(json.dumps(templates))
    dataset = make(*[ROW] * 40, template_file=str(tmp_path / 'templates.json'))
    questions = [dataset[index]['conversations'][0]['value'] for index in range(40)]
    assert set(questions) == set(templates)
    assert questions == [pickle.loads(pickle.dumps(dataset))[index]['conversations'][0]['value'] for index in range(40)]
    first = make(ROW, template_file=str(tmp_path / 'templates.json'), max_dynamic_size=2)
    assert first.templates == templates[:2]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'template_string': None}, 'Kites: give either template_string or template_file'),
        ({'template_file': 't.json', 'template_string': 'a <image>'}, 'give either template_string or template_file'),
        ({'template_string': 'no picture'}, r"'no picture' has <image> 0 times, needed once"),
        ({'template_string': '<image> <image>'}, '<image> 2 times'),
        ({'template_file': 'gone.json'}, r'template_file gone\.json does not exist'),
        ({'max_dynamic_size': 0}, 'max_dynamic_size=0: at least 1 template is needed'),
        ({'box_unit': 'pixel'}, "box_unit='pixel'; did you mean 'pixels'"),
    ],
)
def test_arguments_that_make_no_sense(make: Callable[..., Kites], arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make(ROW, **arguments)


@pytest.mark.parametrize('content', ['["a <image>"', '{"a": "<image>"}', '[]', '[1]', '"<image>"'])
def test_a_template_file_that_is_none(make: Callable[..., Kites], tmp_path: Path, content: str):
    (tmp_path / 'templates.json').write_text(content)
    with pytest.raises(ValueError, match=r'templates\.json.*list of strings'):
        make(ROW, template_file=str(tmp_path / 'templates.json'))


def test_faults_of_arguments_and_files_are_told_together(make: Callable[..., Kites], tmp_path: Path):
    for arguments in ({'template_string': 'none'}, {'box_unit': 'inches'}):
        with pytest.raises(FaultsError) as caught:
            make(ROW, **arguments, filename=str(tmp_path / 'gone.jsonl'), image_folder=str(tmp_path / 'nowhere'))
        assert len(caught.value.faults) == 3
        assert any('gone.jsonl: no such annotation file' in fault for fault in caught.value.faults)
        assert any('nowhere does not exist' in fault for fault in caught.value.faults)


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ({'nane': 'kite'}, "no 'name'; did you mean 'nane'"),
        ({'name': 3}, 'name is 3; expected str'),
        ({'name': None}, 'name is None'),
    ],
)
def test_fields_of_a_row(row: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        field(row, 'name', str)


def test_a_truth_value_is_no_number():
    assert field({'n': 3}, 'n', (int, float)) == 3
    with pytest.raises(ValueError, match='n is True; expected int or float'):
        field({'n': True}, 'n', (int, float))
    assert field({'n': True}, 'n', bool) is True


@given(st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1), st.lists(st.lists(st.integers(0, 9)), min_size=1))
def test_two_turns(boxes: list[list[int]], points: list[list[int]]):
    human, gpt = two_turns('q', 'a', question_boxes=boxes, answer_points=points)
    assert human == {'from': 'human', 'value': 'q', 'boxes_seq': boxes}
    assert gpt == {'from': 'gpt', 'value': 'a', 'points_seq': points}


def test_a_dataset_of_ones_own_needs_no_templates(tmp_path: Path):
    class Captions(AnnotatedDataset):
        def make_item(self, row: Row, rng: ItemRng) -> RawItem:
            return {'conversations': two_turns('<image>', field(row, 'caption', str))}

    Image.new('L', (4, 4)).save(tmp_path / 'b.png')
    (tmp_path / 'rows.jsonl').write_text(json.dumps({'image': str(tmp_path / 'b.png'), 'caption': 'grey'}))
    item = Captions(str(tmp_path / 'rows.jsonl'))[0]
    assert item['image'].mode == 'RGB'
    assert item['target'] is None
