"""Parts that cannot be loaded, and config fields that do not exist, are named by their key."""

from pathlib import Path

import pytest
from transformers import ResNetConfig

from mllm.models.hub import part_config


def test_a_path_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"model_args\.llm='.*nowhere' cannot be loaded; write a folder"):
        part_config('llm', str(tmp_path / 'nowhere'))


def test_a_folder_without_a_model(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r'model_args\.vision_tower='):
        part_config('vision_tower', str(tmp_path))


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        ({'model_type': 'lfm'}, r"model_args\.llm\.model_type: 'lfm' is no model type; did you mean .*'lfm2'"),
        ({'hidden_size': 3}, r'model_args\.llm: a dict needs model_type'),
        (
            {'model_type': 'lfm2', 'hiden_size': 3, 'layer_typs': []},
            r"hiden_size: .*'hidden_size'.*\n.*layer_typs: .*'layer_types'",
        ),
    ],
)
def test_what_a_config_does_not_know(part: dict, message: str):
    with pytest.raises(ValueError, match=message):
        part_config('llm', part)


def test_towers_without_a_hidden_size_may_be_given_one():
    config = part_config(
        'vision_tower', {'model_type': 'resnet', 'hidden_sizes': [4, 8], 'depths': [1, 1], 'hidden_size': 8}
    )
    assert isinstance(config, ResNetConfig)
    assert config.hidden_size == 8
