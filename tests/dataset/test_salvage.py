"""What can be opened of configs with faults."""

import json
from pathlib import Path

import pytest

from mllm.dataset.salvage import open_source
from mllm.dataset.source import DataError
from mllm.registry import DATASETS


@pytest.fixture
def config(small_world):
    return {
        'type': 'LinkContextDataset',
        'filename': str(small_world / 'pairs.jsonl'),
        'image_folder': str(small_world / 'images'),
        'shot': 1,
        'policy': {'type': 'link_context', 'names': 'invented', 'negatives': 'easy'},
    }


def listed(opened):
    return [image for listing in opened.listings for image in listing()]


def test_a_sound_dataset(config):
    opened = open_source(config)
    assert opened.faults == []
    assert opened.source is not None
    assert len(opened.source) == 6
    assert len(listed(opened)) == 36


def test_the_rest_of_a_mixture(config):
    gone = {**config, 'filename': 'gone.jsonl'}
    mixture = {'type': 'ConcatDataset', 'cfgs': [config, {'type': 'SubSet', 'cfg': gone, 'portion': 1.0}, config]}
    opened = open_source(mixture)
    assert opened.faults == ['gone.jsonl: no such annotation file']
    assert opened.source is not None
    assert len(opened.source) == 12


def test_a_mixture_that_is_wrong_itself(config):
    opened = open_source({'type': 'InterleaveDataset', 'cfgs': [config, config], 'probabilities': [0.5, 0.6]})
    assert opened.faults == ['InterleaveDataset: probabilities add up to 1.1, expected 1']
    assert opened.source is not None
    assert len(opened.source) == 12


def test_all_faults_of_a_file_and_the_images_of_its_sound_lines(config, tmp_path):
    lines = Path(config['filename']).read_text().splitlines()
    lines[1] = '{'
    lines += [json.dumps({'class_id': f'x{n}', 'samples': ['x.png']}) for n in range(60)]
    path = tmp_path / 'bad.jsonl'
    path.write_text('\n'.join(lines))
    opened = open_source({**config, 'filename': str(path)})
    assert opened.source is None
    assert len(opened.faults) == 61
    assert opened.faults[0].startswith(f'{path}:2: not JSON')
    images = listed(opened)
    assert len(images) == 30 + 60
    assert {image.where for image in images} == {f'{path}:{n}' for n in range(1, 67) if n != 2}


def test_what_a_source_says_of_itself(config):
    opened = open_source({**config, 'shot': 6})
    assert opened.source is not None
    assert len(opened.faults) == 6
    assert all('too few images' in fault for fault in opened.faults)


def test_errors_of_a_users_dataset(monkeypatch):
    class Broken:
        def __init__(self) -> None:
            raise KeyError('version')

    monkeypatch.setitem(DATASETS._entries, 'Broken', Broken)
    DATASETS.names()
    opened = open_source({'type': 'Broken'})
    (fault,) = opened.faults
    assert fault.startswith("KeyError: 'version' (raised at ")
    assert (opened.source, opened.listings) == (None, [])


def test_the_message_of_many_faults_is_cut():
    error = DataError([f'a:{n}: wrong' for n in range(60)], lambda: iter(()))
    assert len(error.faults) == 60
    assert str(error).splitlines()[-1] == '... and 10 more'
