"""Every entry of the catalogue can be put into a run, and every question template has its placeholders once."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mmengine import Config

from mllm.config.check import check_config
from mllm.registry import METRICS, TRANSFORMS

ROOT = Path(__file__).parents[1]
DATASETS = sorted((ROOT / 'config' / '_base_' / 'dataset').glob('*.py'))
TEMPLATES = sorted((ROOT / 'config' / '_base_' / 'dataset' / 'template').glob('*.json'))
PART = re.compile(r"data_args\.train: \w+ needs 'filename'")


def entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and `data_args` of what a file offers: datasets to train on, tests by name, lists of datasets."""
    for name, value in Config.fromfile(path).to_dict().items():
        if isinstance(value, dict) and 'type' in value:
            if value['type'] not in METRICS and value['type'] not in TRANSFORMS:
                yield name, {'train': value}
        elif (
            isinstance(value, dict) and value and all(isinstance(one, dict) and 'cfg' in one for one in value.values())
        ):
            yield name, {'multitest': value}
        elif isinstance(value, dict) and 'cfg' in value:
            yield name, {'multitest': {'test': value}}
        elif isinstance(value, dict):
            for key, one in value.items():
                if isinstance(one, dict) and 'type' in one:
                    yield f'{name}.{key}', {'train': one}


@pytest.mark.parametrize('path', DATASETS, ids=lambda path: path.stem)
def test_every_entry_is_a_dataset_or_tests(path: Path):
    tiny = Config.fromfile(ROOT / 'config/_base_/model/tiny_llava.py').to_dict()
    found = dict(entries(path))
    assert found
    for name, data_args in found.items():
        faults = check_config({'model_args': tiny['model_args'], 'data_args': data_args, 'training_args': {}})
        # What lacks nothing but its file is a part, which other entries complete.
        assert [fault for fault in faults if not PART.fullmatch(fault)] == [], name
        folders = re.findall(r"'(?:filename|image_folder)': '([^']*)'", repr(data_args))
        assert all(folder.startswith(('data/', str(ROOT))) for folder in folders)


@pytest.mark.parametrize('path', TEMPLATES, ids=lambda path: path.stem)
def test_templates(path: Path):
    templates = json.loads(path.read_text())
    assert len(templates) >= 30
    assert len(set(templates)) == len(templates)
    marks = [sorted(re.findall(r'<\w+>', template)) for template in templates]
    assert all(found == marks[0] for found in marks), 'all have the same placeholders'
    assert '<image>' in marks[0]
    assert len(set(marks[0])) == len(marks[0]), 'each once'
    assert path.read_text().isascii()
    assert not [template for template in templates if template != template.strip() or '  ' in template]
