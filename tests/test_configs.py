"""Every shipped config loads, and every type and argument in it exists."""

from pathlib import Path

import pytest
from mmengine import Config

from mllm.config.check import check_config
from mllm.config.config import load_config

ROOT = Path(__file__).parents[1]
RUNS = sorted((ROOT / 'config').glob('*.py'))
BASES = sorted((ROOT / 'config' / '_base_').rglob('*.py'))


@pytest.mark.parametrize('path', RUNS, ids=lambda path: path.name)
def test_a_run_config_loads_without_a_fault(path: Path):
    cfg = load_config(str(path))
    assert check_config(cfg) == []
    assert {'model_args', 'data_args', 'training_args'} <= set(cfg)


@pytest.mark.parametrize('path', BASES, ids=lambda path: path.name)
def test_a_base_loads_and_names_no_machine(path: Path):
    assert Config.fromfile(path).filename
    assert not {'/home/', '/mnt/', '/root/', 's3://'} & set(path.read_text().split("'"))
