"""Folders of weights as others write them: which files count."""

import json
from pathlib import Path

import pytest

from mllm.utils.weight_files import weight_files

SHARDED = {'model.safetensors.index.json', 'model-1.safetensors'}


@pytest.mark.parametrize(
    ('there', 'counts'),
    [
        ({'model.safetensors', 'pytorch_model.bin'}, 'model.safetensors'),
        ({*SHARDED, 'pytorch_model.bin'}, 'model-1.safetensors'),
        ({*SHARDED, 'model.safetensors'}, 'model.safetensors'),
        ({'pytorch_model.bin'}, 'pytorch_model.bin'),
    ],
)
def test_safetensors_win_over_pickles_sharded_or_not(tmp_path: Path, there: set[str], counts: str):
    for name in there:
        (tmp_path / name).write_text(json.dumps({'weight_map': {'a': 'model-1.safetensors'}}))
    assert weight_files(tmp_path) == [tmp_path / counts]
