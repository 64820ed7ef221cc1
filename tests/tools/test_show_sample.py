"""tools/show_sample.py shows items, prompt, tokens and a picture."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Show = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def show(root: Path, environment: dict[str, str], write_config: Callable[..., Path], tmp_path: Path) -> Show:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(root / 'tools/show_sample.py'), str(write_config()), *arguments]
        if '--picture' not in arguments:
            command += ['--picture', str(tmp_path / 'sample.png')]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_training_sample(show: Show, tmp_path: Path):
    done = show('--index', '3')
    assert done.returncode == 0, done.stderr
    assert 'support 0' in done.stdout
    assert '[BEGIN EXAMPLE] What is in the image <image>?' in done.stdout
    assert 'learnt' in done.stdout
    assert '3 of them image tokens' in done.stdout
    assert Image.open(tmp_path / 'sample.png').width > 300


def test_an_evaluation_sample_has_its_answer_apart(show: Show):
    done = show('--split', 'two', '--index', '0')
    assert done.returncode == 0, done.stderr
    assert 'target: there is "' in done.stdout


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--index', '1000'], 'train has 24 samples, numbered from 0'),
        (['--split', 'tow'], 'this config has'),
        (['--picture', 'x.foo'], 'ends with .png'),
    ],
)
def test_wrong_requests_are_answered(show: Show, arguments: list[str], message: str):
    done = show(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
