"""The tool that prints a resolved config."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mllm import registry

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'show_config.py'
CONFIG = """
SET = dict(type='Lines', filename='a.jsonl')
model_args = dict(type='tiny')
data_args = dict(train=SET, multitest=dict(one=dict(cfg=SET)))
training_args = dict(seed=1)
"""


class Lines:
    def __init__(self, filename: str) -> None: ...


class Tiny:
    class arguments:  # noqa: N801
        pass


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for target, entries in ((registry.DATASETS, {'Lines': Lines}), (registry.MODELS, {'tiny': Tiny})):
        monkeypatch.setattr(target, '_pending', [])
        monkeypatch.setattr(target, '_entries', entries)
    path = tmp_path / 'run.py'
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import show_config  # type: ignore[import-not-found]

    return show_config


def test_prints_python_that_has_all_overrides(tool: ModuleType, config: str, capsys: pytest.CaptureFixture[str]):
    assert tool.main([config, '--cfg-options', 'training_args.seed=2', '--max_steps', '5']) == 0
    assert capsys.readouterr().out == (
        "model_args = dict(type='tiny')\n"
        'data_args = dict(\n'
        "    train=dict(type='Lines', filename='a.jsonl'),\n"
        "    multitest=dict(one=dict(cfg=dict(type='Lines', filename='a.jsonl'))),\n"
        ')\n'
        'training_args = dict(seed=2, max_steps=5)\n'
    )


def test_prints_some_keys(tool: ModuleType, config: str, capsys: pytest.CaptureFixture[str]):
    assert tool.main([config, '--keys', 'model_args.type', 'training_args']) == 0
    assert capsys.readouterr().out == "model_args.type = 'tiny'\ntraining_args = dict(seed=1)\n"


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['--keys', 'model_args.tpye'], "model_args has no 'tpye'; did you mean 'type'?"),
        (['--keys', 'model_args.type.x'], "model_args.type is 'tiny'"),
        (['--cfg-options', 'data_args.train.flename=x', '--sed', '3'], '2 faults'),
    ],
)
def test_faults_go_to_stderr(
    tool: ModuleType, config: str, capsys: pytest.CaptureFixture[str], argv: list[str], expected: str
):
    assert tool.main([config, *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert expected in err


def test_runs_from_any_folder(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, str(TOOL), 'nowhere.py', '--learnig_rate', '1'],
        cwd=tmp_path,
        env={'PATH': '', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ''
    assert result.stderr == (
        'nowhere.py: 2 faults\n'
        '  --learnig_rate: unknown flag; did you mean --learning_rate?\n'
        '  nowhere.py: there is no such config file\n'
    )
