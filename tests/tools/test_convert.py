"""tools/convert.py as people use it: what is converted, what is not and why, all of it told."""

import gzip
import io
import json
import pickle
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mllm.dataset.convert.imagenet_lcl import ImageNetLCL
from tools import convert

REF = {'ann_id': 1, 'ref_id': 3, 'image_id': 7, 'file_name': 'a_1.jpg', 'sentences': [{'sent': 'kite', 'sent_id': 5}]}
IMAGE = {'id': 7, 'file_name': 'COCO_train2014_000000000007.jpg', 'width': 64, 'height': 48}


@pytest.fixture
def refer(tmp_path: Path) -> Path:
    """RefCOCO alone, with train, val and testA."""
    folder = tmp_path / 'refer' / 'refcoco'
    folder.mkdir(parents=True)
    refs = [{**REF, 'split': split} for split in ('train', 'val', 'testA')]
    refs += [{**REF, 'split': 'testA', 'ann_id': 2}]
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(refs, 2))
    boxes = [{'id': 1, 'bbox': [1, 2, 30, 300]}, {'id': 2, 'bbox': [99, 2, 30, 30]}]
    (folder / 'instances.json').write_text(json.dumps({'images': [IMAGE], 'annotations': boxes}))
    return folder.parent


def run(
    capsys: pytest.CaptureFixture[str], dataset: str, root: Path, out: Path, *arguments: str
) -> tuple[int, str, str]:
    code = convert.main([dataset, '--root', str(root), '--out', str(out), *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_splits_that_are_there(refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / 'out'
    code, shown, faults = run(capsys, 'refcoco', refer, out, '--split', 'refcoco_unc_testA', 'reg_refcoco_unc_val')
    assert (code, faults) == (0, '')
    assert {path.name for path in out.iterdir()} == {'refcoco_unc_testA.jsonl', 'reg_refcoco_unc_val.jsonl'}
    line = next(line for line in shown.splitlines() if ' refcoco_unc_testA ' in line)
    assert [cell.strip() for cell in line.split('\u2502')[2:6]] == ['1', '1', '1', '1']
    assert 'refcoco_unc_testA: 1 skipped, box wholly outside' in shown


def test_a_split_that_fails_does_not_stop_the_others(refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, shown, faults = run(capsys, 'refcoco', refer, tmp_path / 'out')
    assert code == 2
    assert 'refcoco_unc_train' in shown
    assert f"refcoco_unc_testB: {refer}/refcoco/refs(unc).p: it has no refs of the split 'testB'" in faults
    assert 'Not converted, as their files are not below' in shown
    assert 'refcocog_umd_val' in shown.split('Not converted')[1]
    assert 'Traceback' not in faults


def test_the_same_files_give_the_same_bytes(refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    contents = []
    for name in ('a', 'b'):
        run(capsys, 'refcoco', refer, tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 5


@pytest.mark.parametrize(
    ('dataset', 'arguments', 'messages'),
    [
        ('refcocoo', [], ["there is no 'refcocoo'; did you mean 'refcoco'"]),
        (
            'refcoco',
            ['--split', 'refcoco_unc_tesA', 'val', 'refcoco_unc_val'],
            ["--split refcoco_unc_tesA: no such split; did you mean 'refcoco_unc_testA'", '--split val: no such split'],
        ),
        (
            'refcoco',
            ['--split', 'refcocog_umd_val', 'refcoco_unc_val'],
            ['--split refcocog_umd_val needs', 'refcocog/refs(umd).p, which is not there', 'refcocog/instances.json'],
        ),
        ('refcoco', ['--set', 'seed=1', 'x'], ["--set seed=1: refcoco has no option 'seed'", "no option 'x'"]),
        ('imagenet_lcl', ['--set', 'contxt=4'], ["no option 'contxt'; did you mean 'context'"]),
        ('imagenet_lcl', ['--set', 'context=none', 'seed=0.5'], ['context=none: expected ', 'seed=0.5: expected ']),
        ('imagenet_lcl', ['--set', 'context=0'], ['context is at least 1']),
        ('flickr30k_entities', ['--set', 'drop_unrelated=no'], ['drop_unrelated=no: expected ']),
    ],
)
def test_what_is_asked_for_wrongly(
    refer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dataset: str,
    arguments: list[str],
    messages: list[str],
):
    code, _, faults = run(capsys, dataset, refer, tmp_path / 'out', *arguments)
    assert code == 2
    assert [message for message in messages if message not in faults] == []
    assert 'Traceback' not in faults
    assert not (tmp_path / 'out').exists()


def test_nothing_to_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, _, faults = run(capsys, 'visual_genome', tmp_path / 'gone', tmp_path / 'out')
    assert (code, faults) == (2, f'--root {tmp_path}/gone: no such folder\n')
    code, _, faults = run(capsys, 'refcoco', tmp_path, tmp_path / 'out')
    assert code == 2
    assert 'no split has its files there. Needed:' in faults
    assert len(faults.splitlines()) < 20, 'what several splits need is told once'


def test_packed_files_whole_and_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = tmp_path / 'vg'
    root.mkdir()
    entry = {'image_id': 1, 'url': 'https://example.org/VG_100K/1.jpg', 'width': 9, 'height': 9}
    (root / 'image_data.json').write_text(json.dumps([entry]))
    region = {'region_id': 1, 'image_id': 1, 'phrase': 'kite', 'x': 1, 'y': 1, 'width': 4, 'height': 4}
    packed = gzip.compress(json.dumps([{'id': 1, 'regions': [region] * 9}]).encode())
    (root / 'region_descriptions.json').write_bytes(packed)
    assert run(capsys, 'visual_genome', root, tmp_path / 'out')[0] == 0
    whole = (tmp_path / 'out' / 'regions.jsonl').read_bytes()
    assert whole.count(b'\n') == 9
    (root / 'region_descriptions.json').write_bytes(packed[:-9])
    code, _, faults = run(capsys, 'visual_genome', root, tmp_path / 'out')
    assert code == 2
    assert f'regions: {root}/region_descriptions.json: not whole JSON' in faults
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['regions.jsonl']
    assert (tmp_path / 'out' / 'regions.jsonl').read_bytes() == whole


def test_options_reach_the_converter(tmp_path: Path):
    converter = convert.make_converter('imagenet_lcl', tmp_path, ['context=4', 'encoder=models/clip=1'])
    assert isinstance(converter, ImageNetLCL)
    assert (converter.context, converter.encoder, converter.seed) == (4, 'models/clip=1', 0)
    # What may be text is text, a folder with the name of a number too.
    assert convert.make_converter('imagenet_lcl', tmp_path, ['encoder=336']).encoder == '336'  # type: ignore[attr-defined]
    for text, value in (('true', True), ('False', False)):
        assert (
            convert.make_converter('flickr30k_entities', tmp_path, [f'drop_unrelated={text}']).drop_unrelated is value
        )  # type: ignore[attr-defined]


def test_an_interrupted_run(
    refer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('mllm.dataset.convert.refcoco.RefCOCO.rows_of', interrupt)
    code, _, faults = run(capsys, 'refcoco', refer, tmp_path / 'out')
    assert code == 130
    assert 'interrupted' in faults
    assert list((tmp_path / 'out').iterdir()) == []


def test_the_table_on_a_narrow_terminal(refer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    narrow = Console(file=io.StringIO(), width=60)
    monkeypatch.setattr(convert, 'console', lambda: narrow)
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    convert.main(['refcoco', '--root', str(refer), '--out', str(tmp_path / 'out')])
    table = [line for line in narrow.file.getvalue().splitlines() if '\u2502' in line]  # type: ignore[attr-defined]
    assert 'reg_refcoco_unc_val ' in ''.join(table)
    assert max(map(len, table)) <= 60
