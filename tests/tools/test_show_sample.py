"""tools/show_sample.py shows items, prompt, tokens and a picture."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mllm.types import Episode
from tools.show_sample import main

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


def test_a_bad_sample_is_shown_as_far_as_it_goes(
    write_config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [str(write_config()), '--picture', str(tmp_path / 'x.png'), '--index', '2']
    assert main([*arguments, '--cfg-options', 'model_args.model_max_length=10']) == 2
    out, error = capsys.readouterr()
    assert 'support 0' in out
    assert '[BEGIN EXAMPLE] What is in the image <image>?' in out
    assert 'pairs.jsonl:3 (sample 2): query and answer alone have' in error


def test_an_item_that_breaks_its_contract_is_told(
    write_config: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    item = {'conversations': [{'from': 'human'}]}
    monkeypatch.setattr('mllm.dataset.single_image_conversation.SingleImageConvDataset.draw', lambda *_: Episode(item))
    assert main([str(write_config()), '--picture', str(tmp_path / 'x.png')]) == 2
    assert (
        "pairs.jsonl:1 (sample 0): a turn needs from and value, both text; this one is {'from'"
        in capsys.readouterr().err
    )
