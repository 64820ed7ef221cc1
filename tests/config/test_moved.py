"""What is said about keys of the original code's configs."""

from typing import Any

import pytest

from mllm.config.check import DATA_HINTS, check_config
from mllm.config.moved import MOVED
from mllm.models.llava.arguments import LlavaArguments


def test_no_moved_key_is_a_key_of_today():
    today = {f'data_args.{key}' for key in DATA_HINTS}
    today |= {f'model_args.{key}' for key in LlavaArguments.__dataclass_fields__}
    assert not today & set(MOVED)


@pytest.mark.parametrize('key', MOVED)
def test_the_fault_says_what_to_write(key: str):
    cfg: dict[str, Any] = {'model_args': {'type': 'tiny', 'path': 'x'}, 'data_args': {}}
    section, name = key.split('.')
    cfg[section][name] = 1
    (fault,) = check_config(cfg)
    assert fault.startswith(f'{key}: ')
    assert fault.endswith(f'; {MOVED[key]}')
    assert 'did you mean' not in fault
