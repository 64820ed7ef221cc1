"""Teaching a model with one's own pictures: from the command line, for any family, and what is refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllm.config.config import prepare_args
from mllm.pipeline.finetune import run
from tests.conftest import ROOT
from tools import teach


@pytest.fixture
def album(small_world: Path, tmp_path: Path) -> Path:
    """Pictures of four concepts as a person names them: colour-number.png."""
    folder = tmp_path / 'album'
    folder.mkdir()
    for number, name in enumerate(('red', 'blue', 'lime', 'plum')):
        for copy, family in enumerate(('ink', 'oil', 'clay')):
            shutil.copy(small_world / 'images' / family / f'{number}.png', folder / f'{name}-{copy}.png')
    return folder


def supports(album: Path, *labels: str, shot: int = 2) -> list[str]:
    words = []
    for label in labels:
        paths = ','.join(str(album / f'{label}-{copy}.png') for copy in range(shot))
        words += ['--support', f'{label}={paths}']
    return words


def test_from_the_command_line_on_a_run_with_adapters(
    album: Path, tmp_path: Path, write_config: Callable[..., Path], environment: dict[str, str]
):
    out = tmp_path / 'run'
    config = write_config("model_args = dict(lora=dict(r=2))\ntraining_args['do_multi_predict'] = False")
    run(*prepare_args([str(config), '--output_dir', str(out), '--disable_tqdm', 'true']))
    command = [sys.executable, str(ROOT / 'tools/teach.py'), '--model', str(out), *supports(album, 'red', 'blue')]
    command += ['--query', 'red-2.png', 'lime-0.png', '--json', str(tmp_path / 'teach.json')]
    command += ['--picture', str(tmp_path / 'pictures' / 'teach.png')]
    done = subprocess.run(command, cwd=album, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(title in done.stdout for title in ('as taught', 'names exchanged', 'supports blanked', 'softmax'))
    assert f'the model in {out} is evaluated' in done.stderr
    report = json.loads((tmp_path / 'teach.json').read_text())
    assert report['exchanged'] == {'red': 'blue', 'blue': 'red'}
    assert [entry['query'] for entry in report['queries']] == ['red-2.png', 'lime-0.png']
    for entry in report['queries']:
        for way in ('taught', 'exchanged', 'blanked'):
            assert list(entry[way]['probabilities']) == ['red', 'blue']
            assert sum(entry[way]['probabilities'].values()) == pytest.approx(1)
        assert entry['taught']['scores'] != entry['exchanged']['scores'] != entry['blanked']['scores']
    with Image.open(tmp_path / 'pictures' / 'teach.png') as picture:
        assert picture.height > picture.width > 600


@pytest.mark.parametrize('family', ['tiny_flamingo', 'tiny_otter', 'tiny_hf_vlm'])
def test_with_any_family(
    album: Path, tmp_path: Path, family: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    argv = ['--model', str(ROOT / f'config/_base_/model/{family}.py'), *supports(album, 'red', 'blue', 'lime', shot=1)]
    assert teach.main([*argv, '--query', str(album / 'red-1.png'), '--ask', 'What is it?']) == 0
    out = capsys.readouterr().out
    assert 'names exchanged' in out
    assert (tmp_path / 'exp' / 'teach.png').is_file()


def test_a_folder_is_the_same_as_its_pictures_by_name(album: Path, tmp_path: Path):
    for name in ('red', 'blue'):
        (tmp_path / 'by_label' / f'my_{name}').mkdir(parents=True)
        for copy in range(2):
            shutil.copy(album / f'{name}-{copy}.png', tmp_path / 'by_label' / f'my_{name}')
    (tmp_path / 'by_label' / '.trash').mkdir()
    (tmp_path / 'by_label' / 'my_red' / 'notes.txt').write_text('-')
    lesson = teach.read_folder(tmp_path / 'by_label')
    assert {label: [Path(path).name for path in paths] for label, paths in lesson.items()} == {
        'my blue': ['blue-0.png', 'blue-1.png'],
        'my red': ['red-0.png', 'red-1.png'],
    }


def test_a_photograph_stands_as_it_was_taken(tmp_path: Path):
    image = Image.new('RGB', (40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / 'photo.jpg', exif=exif)
    assert teach.load(str(tmp_path / 'photo.jpg')).size == (20, 40)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--support', 'red={red}', '--support', 'blue=nowhere.png'], 'nowhere.png: no such image; check its path'),
        (['--support', 'red={red}', '--support', 'blue={broken}'], 'broken.png: not an image'),
        (['--support', 'red={red}'], '1 label: to choose, a model needs two or more'),
        (['--support', 'red={red},{lime}', '--support', 'blue={blue}'], 'there are: red 2, blue 1'),
        (['--support', 'a=b={red}', '--support', 'blue={blue}'], 'with one = and no comma in the label'),
        (['--support', 'a,b={red}', '--support', 'blue={blue}'], 'with one = and no comma in the label'),
        (['--support', '={red}', '--support', 'blue={blue}'], 'expected LABEL=PICTURE'),
        (['--support', 'red={red},', '--support', 'blue={blue}'], 'a picture is missing'),
        (['--support', 'Red={red}', '--support', 'red={blue}'], 'are the same once written as an answer'),
        (['--support', 'a"b={red}', '--support', 'blue={blue}'], 'leave out < > and "'),
        (['--support', 'red={red}', '--support', 'blue={red}'], 'is shown as a support twice'),
        (['--support', 'red={query}', '--support', 'blue={blue}'], 'is a support: the model would only have to copy'),
        (['--folder', 'nowhere'], '--folder nowhere: no such folder'),
        ([], 'give the supports either as --support LABEL=PICTURE,... or as --folder DIR'),
        (
            ['--support', 'a={red}', '--support', 'b={blue}', '--ask', '<image> or <image>?'],
            '<image> stands there twice',
        ),
    ],
)
def test_what_is_wrong_is_told_before_a_model_is_loaded(
    album: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    (album / 'broken.png').write_text('no picture')
    files = {name: str(album / f'{name}-0.png') for name in ('red', 'blue', 'lime')}
    files |= {'broken': str(album / 'broken.png'), 'query': str(album / 'plum-0.png')}
    argv = [word.format(**files) for word in words]
    assert teach.main(['--model', 'nowhere.py', *argv, '--query', files['query']]) == 2
    assert message in capsys.readouterr().err


def test_supports_that_do_not_fit_are_no_lesson(
    album: Path, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    argv = ['--model', str(write_config()), *supports(album, 'red', 'blue'), '--query', str(album / 'lime-0.png')]
    assert teach.main([*argv, '--cfg-options', 'model_args.model_max_length=60']) == 2
    assert 'supports do not fit into the 60 tokens' in capsys.readouterr().err


def reply(**probabilities: float) -> Any:
    return teach.Reply('', {}, probabilities)


@pytest.mark.parametrize(
    ('taught', 'exchanged', 'blanked', 'expected'),
    [
        ((0.9, 0.1), (0.2, 0.8), (0.5, 0.5), 'it goes by the supports'),
        ((0.9, 0.1), (0.8, 0.2), (0.9, 0.1), "do not rely on it; without the supports it leans to 'a' by itself"),
        ((0.4, 0.6), (0.7, 0.3), (0.2, 0.8), "it goes by the supports; without the supports it leans to 'b'"),
    ],
)
def test_the_verdict(taught: Any, exchanged: Any, blanked: Any, expected: str):
    ways = zip(teach.WAYS, (taught, exchanged, blanked), strict=True)
    replies = {way: reply(a=first, b=second) for way, (first, second) in ways}
    assert expected in teach.verdict(replies, {'a': 'b', 'b': 'a'})
