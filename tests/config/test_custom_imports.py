"""Out-of-tree modules, by name and by path."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mllm.config.config import load_config
from mllm.config.custom_imports import import_custom_modules
from mllm.registry import DATASETS

MODULE = """
from mllm.registry import DATASETS

@DATASETS.register_module()
class Birds:
    def __init__(self, folder: str): ...
"""
CONFIG = """
custom_imports = dict(imports=['{{fileDirname}}/birds.py'])
model_args = dict(type='tiny', path='x')
data_args = dict(train=dict(type='Birds', folder='x'))
"""


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_file_beside_the_config_registers_before_the_check(write: Callable[..., str]):
    write('birds.py', MODULE)
    path = write('run.py', CONFIG)
    assert load_config(path).data_args.train.type == 'Birds'
    first = DATASETS.get('Birds')
    load_config(path)
    assert DATASETS.get('Birds') is first, 'the file ran twice'


def test_arguments_of_an_out_of_tree_class_are_checked(write: Callable[..., str]):
    write('birds.py', MODULE)
    with pytest.raises(ValueError, match="Birds has no argument 'foldr'; did you mean 'folder'"):
        load_config(write('run.py', CONFIG.replace('folder=', 'foldr=')))


def test_a_module_is_found_by_name(write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write('my_birds/dataset.py', MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    assert import_custom_modules({'imports': ['my_birds.dataset']}) == []
    assert 'Birds' in DATASETS


def test_modules_that_are_not_there(write: Callable[..., str]):
    faults = import_custom_modules({'imports': ['no_such_module', '/no/such/file.py'], 'import': 1})
    assert faults == [
        'custom_imports.import: unknown key; there are: allow_failed_imports, imports',
        "custom_imports.imports.0: no_such_module: No module named 'no_such_module'",
        'custom_imports.imports.1: /no/such/file.py: there is no such file',
    ]
    assert import_custom_modules({'imports': ['no_such_module'], 'allow_failed_imports': True}) == []


def test_a_module_that_fails(write: Callable[..., str]):
    path = write('broken.py', 'x = 1 +')
    (fault,) = import_custom_modules({'imports': [path]})
    assert fault.startswith(f'custom_imports.imports.0: {path}: SyntaxError')
    assert 'broken' not in sys.modules


def test_a_file_does_not_take_the_name_of_another_module(write: Callable[..., str]):
    (fault,) = import_custom_modules({'imports': [write('json.py', 'x = 1')]})
    assert 'rename the file' in fault
