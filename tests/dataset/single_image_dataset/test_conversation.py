"""Conversations of every layout with any number of images, and Hugging Face tables."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from mllm.dataset.encoder import EpisodeEncoder
from mllm.registry import DATASETS
from mllm.types import Episode, Preprocessor, images_of
from mllm.utils.rng import ItemRng

Make = Callable[..., Any]
ASK, REPLY = {'from': 'human', 'value': 'What is it?'}, {'from': 'gpt', 'value': 'A cat.'}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(('a', 'b')):
        Image.new('RGB', (20 + number, 10), (number, 0, 0)).save(tmp_path / f'{name}.png')
    return tmp_path


@pytest.fixture
def make(folder: Path) -> Make:
    def call(row: dict[str, Any], type: str = 'ConversationDataset', **cfg: Any) -> Any:
        (folder / 'rows.json').write_text(json.dumps([row]))
        data = DATASETS.build({'type': type, 'filename': str(folder / 'rows.json'), 'image_folder': str(folder), **cfg})
        return data.get_item(0, ItemRng(0, 0, 0))

    return call


def said(item: Any) -> list[str]:
    return [turn['value'] for turn in item['conversations']]


def data_url(size: tuple[int, int]) -> str:
    buffer = io.BytesIO()
    Image.new('RGB', size).save(buffer, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()


def test_llava_and_sharegpt(make: Make):
    item = make({'id': 1, 'image': 'a.png', 'conversations': [ASK, REPLY]})
    assert said(item) == ['<image>\nWhat is it?', 'A cat.']
    assert (images_of(item)[0].size, item['meta']['id']) == ((20, 10), 1)
    turns = [{'from': 'system', 'value': 'Be kind.'}, {'from': 'user', 'value': 'Is <image> like <image>?'}, REPLY]
    item = make({'images': ['a.png', 'b.png'], 'conversations': turns})
    assert said(item)[0] == 'Be kind.\nIs <image> like <image>?'
    assert [image.size for image in images_of(item)] == [(20, 10), (21, 10)]
    assert make({'conversations': [ASK, REPLY]}).get('image') is None


def test_openai_messages(make: Make):
    content = [
        {'type': 'text', 'text': 'Compare'},
        {'type': 'image_url', 'image_url': {'url': data_url((5, 6))}},
        {'type': 'image', 'image': 'b.png'},
    ]
    messages = [{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': content}]
    messages += [{'role': 'assistant', 'content': [{'type': 'text', 'text': 'Same.'}]}]
    item = make({'messages': messages})
    assert said(item) == ['S\nCompare\n<image>\n<image>', 'Same.']
    assert [image.size for image in images_of(item)] == [(5, 6), (21, 10)]
    assert item['meta']['image_path'][0].startswith('data:image/png')
    assert len(item['meta']['image_path'][0]) < 50


def test_conversations_are_encoded(make: Make, preprocessor: Preprocessor):
    turns = [{'from': 'human', 'value': 'Where in <image> and <image>?'}]
    turns += [{'from': 'gpt', 'value': 'At <boxes>.', 'boxes_seq': [[[1, 0]]]}]  # type: ignore[dict-item]
    item = make({'images': ['a.png', 'b.png'], 'conversations': turns, 'target': [None, {'boxes': [[2, 1, 21, 9]]}]})
    sample = EpisodeEncoder(preprocessor, training=False)(Episode(item), 0)
    assert sample.target == 'At [0.095,0.286,1.000,0.667].'


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ({'text': 'x'}, 'no conversations or messages; this row has text'),
        ({'conversations': [ASK, ASK, REPLY]}, "turns 0 and 1 are both from 'human'"),
        ({'conversations': [ASK]}, 'the last turn is a question'),
        ({'conversations': [{'from': 'robot', 'value': 'x'}, REPLY]}, "turn 0 is from 'robot'"),
        ({'conversations': [{'from': 'human', 'value': 7}, REPLY]}, 'a turn says 7; expected text'),
        ({'conversations': ['hello']}, "a turn is 'hello'"),
        ({'messages': [{'role': 'user', 'content': [{'type': 'audio'}]}, REPLY]}, "expected type 'text', 'image'"),
        ({'image': 'data:image/png;base64,@@', 'conversations': [ASK, REPLY]}, 'not base64'),
        ({'image': 'gone.png', 'conversations': [ASK, REPLY]}, 'gone.png: no such image'),
        ({'image': 3, 'conversations': [ASK, REPLY]}, 'expected a path or a data URL|not iterable'),
    ],
)
def test_what_is_no_conversation_is_told(make: Make, row: dict[str, Any], message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        make(row)


def test_llava_instruction_data(make: Make, folder: Path):
    row = {'id': 'x', 'image': 'a.png', 'conversations': [{**ASK, 'value': '<image>\nWhat?'}, REPLY]}
    assert said(make(row, 'InstructDataset'))[0] == '<image>\nWhat?'
    (folder / 'a.png').rename(folder / 'COCO_train2014_a.png')
    assert make(row, 'InstructDataset', add_coco_prefix=True)['meta']['image_path'] == 'COCO_train2014_a.png'
    assert make({'id': 'y', 'conversations': [ASK, REPLY]}, 'InstructDataset').get('image') is None


# ---- Hugging Face tables ----


@pytest.fixture
def table(folder: Path) -> datasets.Dataset:
    rows = {
        'picture': [str(folder / 'a.png'), str(folder / 'b.png')],
        'ask': ['What?', 'Who?'],
        'name': ['cat', 'dog'],
        'box': [[1.0, 2.0, 5.0, 4.0], [0.0, 0.0, 20.0, 10.0]],
        'others': [['cat', 'dog'], ['dog', 'cat']],
    }
    return datasets.Dataset.from_dict(rows).cast_column('picture', datasets.Image())


CFG = {'type': 'HFDataset', 'answer': 'a <name>', 'template_string': '<ask> <image>', 'image_column': 'picture'}


@pytest.mark.parametrize('form', ['parquet', 'disk', 'dict', 'jsonl', 'csv'])
def test_tables_of_every_form(table: datasets.Dataset, folder: Path, form: str):
    path, cfg = folder / f'table.{form}', dict(CFG)
    if form == 'parquet':
        table.to_parquet(path)
    elif form == 'disk':
        table.save_to_disk(path)
    elif form == 'dict':
        datasets.DatasetDict({'test': table}).save_to_disk(path)
        cfg['split'] = 'test'
    else:
        rows = [{'picture': f'{name}.png', 'ask': 'What?', 'name': kind} for name, kind in (('a', 'cat'), ('b', 'dog'))]
        text = 'picture,ask,name\n' + ''.join(','.join(row.values()) + '\n' for row in rows)
        path.write_text(text if form == 'csv' else ''.join(json.dumps(row) + '\n' for row in rows))
        cfg['image_folder'] = str(folder)
    data = DATASETS.build({**cfg, 'path': str(path)})
    item = data.get_item(0, ItemRng(0, 0, 0))
    assert said(item) == ['What? <image>', 'a cat']
    assert images_of(item)[0].size == (20, 10)
    assert len({data.image_key(0), data.image_key(1)}) == 2
    assert data.answer(1) == 'a dog'


def test_what_a_column_says_is_not_filled_in_again(folder: Path):
    rows = [{'q': 'Is <a> more than <b>?', 'a': 'yes', 'n': 3}]
    (folder / 't.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    cfg = {'type': 'HFDataset', 'path': str(folder / 't.jsonl'), 'image_column': None}
    item = DATASETS.build({**cfg, 'template_string': '<q> <b>', 'answer': '<a> <n>'}).get_item(0, ItemRng(0, 0, 0))
    assert said(item) == ['Is <a> more than <b>? <b>', 'yes 3']


def test_a_folder_of_images(folder: Path):
    for name in ('cats', 'dogs'):
        (folder / 'pets' / name).mkdir(parents=True)
        Image.new('RGB', (9, 9)).save(folder / 'pets' / name / '1.png')
    rows = [{'file_name': f'{name}/1.png', 'text': name} for name in ('cats', 'dogs')]
    (folder / 'pets' / 'metadata.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    cfg = {'type': 'HFDataset', 'path': str(folder / 'pets'), 'answer': '<text>', 'template_string': '<image>'}
    assert DATASETS.build(cfg).get_item(1, ItemRng(0, 0, 0))['conversations'][1]['value'] == 'dogs'


@pytest.mark.parametrize(
    ('cfg', 'box'),
    [
        ({}, [1, 2, 5, 4]),
        ({'box_format': 'xywh'}, [1, 2, 6, 6]),
        ({'box_unit': 'normalised'}, [20, 20, 100, 40]),
    ],
)
def test_boxes_and_meta(table: datasets.Dataset, folder: Path, cfg: dict[str, Any], box: list[float]):
    table.to_parquet(folder / 't.parquet')
    more = {'answer': '<name> <boxes>', 'box_column': 'box', 'meta': {'candidates': 'others'}}
    item = DATASETS.build({**CFG, **more, 'path': str(folder / 't.parquet'), **cfg}).get_item(0, ItemRng(0, 0, 0))
    assert item['target'] == {'boxes': [box]}
    assert item['conversations'][1] == {'from': 'gpt', 'value': 'cat <boxes>', 'boxes_seq': [[0]]}
    assert item['meta'] == {'candidates': ['cat', 'dog']}


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        ({'image_column': 'pictur'}, "image_column='pictur': the table has no such column; did you mean 'picture'"),
        ({'meta': {'x': 'nam'}}, "meta.x='nam'"),
        ({'answer': 'a cat'}, 'names no column'),
        ({'answer': '<boxes>'}, 'needs both'),
        ({'box_format': 'xyhw', 'box_unit': 'inch'}, "box_format='xyhw'.*\n.*box_unit='inch'"),
        ({'template_string': '<ask>'}, 'has <image> 0 times'),
        ({'template_file': 'x'}, 'either template_string or template_file'),
        ({'split': 'test', 'path': '{disk}'}, 'test'),
        ({'path': '{folder}/gone.parquet'}, 'gone.parquet'),
        ({'path': '{folder}/a.png'}, 'no table by its ending'),
    ],
)
def test_wrong_arguments(table: datasets.Dataset, folder: Path, cfg: dict[str, Any], message: str):
    table.to_parquet(folder / 't.parquet')
    datasets.DatasetDict({'train': table}).save_to_disk(folder / 'disk')
    places = {'path': str(folder / 't.parquet'), **cfg}
    places['path'] = places['path'].format(folder=folder, disk=folder / 'disk')
    with pytest.raises(ValueError, match=message):
        DATASETS.build({**CFG, **places})
