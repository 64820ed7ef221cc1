"""tools/check_data.py: a table, all faults, exit status."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image
from rich.console import Console

from mllm.dataset.single_image_dataset.base import MInstrDataset, Row
from mllm.registry import DATASETS
from mllm.types import RawItem
from mllm.utils.rng import ItemRng


class CheckedCaptions(MInstrDataset):
    """Lines like {"picture": "a.jpg", "text": "a dog", "box": [10, 20, 200, 180]}."""

    placeholders = ('<image>',)
    image_field = 'picture'

    def make_item(self, row: Row, rng: ItemRng) -> RawItem:
        return {
            'target': {'boxes': [row['box']]},
            'conversations': [
                {'from': 'human', 'value': self.get_template(rng)},
                {'from': 'gpt', 'value': row['text'] + ' <boxes>', 'boxes_seq': [[0]]},
            ],
        }


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, root: Path) -> ModuleType:
    monkeypatch.syspath_prepend(root / 'tools')
    import check_data  # type: ignore[import-not-found]

    return check_data


@pytest.fixture
def broken(tmp_path: Path, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """A config whose training data have one fault of each kind, and one data set with too few images."""
    DATASETS.names()
    monkeypatch.setitem(DATASETS._entries, 'CheckedCaptions', CheckedCaptions)
    folder = tmp_path / 'pictures'
    folder.mkdir()
    Image.effect_noise((64, 48), 50).save(folder / 'a.jpg')
    (folder / 'cut.jpg').write_bytes((folder / 'a.jpg').read_bytes()[:-400])
    good = {'picture': 'a.jpg', 'text': 'a field', 'box': [3, 4, 30, 40]}
    rows = [
        good,
        {**good, 'picture': 'cut.jpg'},
        {**good, 'picture': 'gone.jpg'},
        {**good, 'box': [30, 4, 3, 40]},
        {key: value for key, value in good.items() if key != 'text'},
        {**good, 'text': 'word ' * 3000},
        {**good, 'box': [3, 4, 90, 40]},
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / 'captions.jsonl').write_text('\n'.join([*lines, '{"picture": ']))
    config = write_config(
        "data_args['train'] = dict(type='CheckedCaptions', filename='{{fileDirname}}/captions.jsonl',\n"
        "    image_folder='{{fileDirname}}/pictures', template_string='What is this? <image>')\n"
        "data_args['multitest'] = dict(many=dict(cfg=dict(EPISODES, shot=6)))\n"
    )
    return str(config)


def test_sound_data(tool: ModuleType, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    assert tool.main([str(write_config()), '--workers', '0']) == 0
    out, err = capsys.readouterr()
    assert '36 image files and 42 samples in ' in out
    assert ': no faults' in out
    names = [line.split()[1] for line in out.splitlines() if line.startswith('│')]
    assert names == ['train', 'validation', 'test', 'two']
    assert err == ''


def test_every_fault_has_its_line(tool: ModuleType, broken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert tool.main([broken, '--workers', '2', '--json', str(tmp_path / 'check.json')]) == 1
    out = capsys.readouterr().out
    path, pictures = tmp_path / 'captions.jsonl', tmp_path / 'pictures'
    starts = [
        f'{path}:2: {pictures}/cut.jpg: truncated or damaged',
        f'{path}:3: {pictures}/gone.jpg: no such image',
        f'{path}:4: box 0 [30, 4, 3, 40]: inverted',
        f"{path}:5: KeyError: 'text' (raised at ",
        f'{path}:6: query and answer alone have ',
        f'{path}:8: not JSON',
    ]
    listed = [line for line in out.splitlines() if line.startswith(str(path))]
    assert len(listed) == len(starts)
    assert all(line.startswith(start) for line, start in zip(listed, starts, strict=True)), listed
    few = [line for line in out.splitlines() if 'too few images' in line]
    assert len(few) == 6
    assert all(line.endswith('[many]') for line in few)
    assert ': 12 faults' in out

    report = json.loads((tmp_path / 'check.json').read_text())
    assert report['complete']
    train, *_ = report['datasets']
    assert (train['samples'], train['failed_samples'], train['clipped_boxes'], train['faults']) == (8, 6, 1, 6)
    assert (train['images'], train['width'], train['height']) == (2, [64, 64], [48, 48])
    assert len(report['faults']) == 12
    (cut, *_, bad) = (fault for fault in report['faults'] if fault['file'] == str(path))
    assert (cut['line'], bad['line'], bad['datasets'], bad['samples']) == (2, 8, ['train'], 0)


def test_some_splits_only(tool: ModuleType, broken: str, capsys: pytest.CaptureFixture[str]):
    assert tool.main([broken, '--workers', '0', '--split', 'test', 'validation']) == 0
    assert '12 samples' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--cfg-options', 'data_args.train.shto=3'], "has no argument 'shto'"),
        (['--split', 'tow'], '--split tow: this config has train, validation, test, two'),
        (['--cfg-options', 'model_args.tokenizer=/no/such/folder'], '/no/such/folder'),
        (['--workers', '-1'], '--workers -1: expected 0'),
        (['--json', '.'], '--json .: cannot be written (it is a folder)'),
        (['--json', f'{__file__}/check.json'], 'check.json: cannot be written (File exists)'),
    ],
)
def test_a_wrong_config_is_status_2(
    tool: ModuleType,
    write_config: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
):
    assert tool.main([str(write_config()), *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ''


def test_supports_that_do_not_fit_are_told_of_though_they_are_no_fault(
    tool: ModuleType, write_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    split = ['--split', 'test', 'two', '--workers', '0']
    assert tool.main([str(write_config()), *split, '--cfg-options', 'model_args.model_max_length=45']) == 0
    out = capsys.readouterr().out
    assert 'no faults; 6 of 12 samples lost supports: raise model_args.model_max_length or lower shot' in out
    assert tool.main([str(write_config()), *split]) == 0
    assert 'lost' not in capsys.readouterr().out


@pytest.mark.parametrize(('width', 'tables'), [(160, 1), (80, 2), (60, 2)])
def test_a_narrow_terminal_loses_nothing_of_the_table(tool: ModuleType, width: int, tables: int):
    row = {
        **{'dataset': 'heldout_real_name_4', 'samples': 1234567, 'images': 7654321, 'most_shots': 1279, 'limit': 2048},
        **{'width': [60, 5000], 'height': [48, 4000], 'images_per_sample': [5, 17], 'failed_samples': 31},
        **{'tokens': {'min': 1201, 'median': 1502, 'p95': 1803, 'max': 2044}, 'faults': 29},
        **{'truncated_samples': 8901, 'dropped_supports': 23456, 'clipped_boxes': 777},
    }
    output = Console(width=width, file=io.StringIO())
    made = tool.summary_tables([row], output)
    assert len(made) == tables
    for table in made:
        output.print(table)
    text = output.file.getvalue()  # type: ignore[attr-defined]
    assert '…' not in text
    assert max(map(len, text.splitlines())) <= width
    for value in ('1234567', '7654321', '1279', '2048', '60-5000', '1201', '2044', '8901', '-23456', '777', '31', '29'):
        assert value in text


def test_an_interruption_while_data_are_opened(
    tool: ModuleType, broken: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object):
        raise KeyboardInterrupt

    monkeypatch.setattr(tool, 'DataCheck', interrupted)
    assert tool.main([broken]) == 130
    assert capsys.readouterr().out == ''


def test_a_check_that_is_interrupted_shows_what_it_has(
    tool: ModuleType, broken: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def interrupted(check: object, workers: int):
        yield 'images', 1
        raise KeyboardInterrupt

    monkeypatch.setattr(tool.DataCheck, 'run', interrupted)
    assert tool.main([broken, '--json', str(tmp_path / 'check.json')]) == 130
    assert 'interrupted; so far: 6 faults' in capsys.readouterr().out
    assert not json.loads((tmp_path / 'check.json').read_text())['complete']


def test_runs_from_any_folder(
    root: Path, write_config: Callable[..., Path], environment: dict[str, str], tmp_path: Path
):
    config = str(write_config("EPISODES['filename'] = 'gone.jsonl'\ndata_args['test'] = EPISODES"))
    command = [sys.executable, str(root / 'tools/check_data.py'), config, '--workers', '1', '--split', 'two', 'test']
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert 'gone.jsonl: no such annotation file [test]' in done.stdout
    assert '36 image files and 6 samples' in done.stdout
    assert done.stderr == ''
