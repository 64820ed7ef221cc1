"""tools/make_test100.py on a miniature of ImageNet: 100 classes of four training and two validation images."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mllm.dataset.single_image_dataset.query_bank import GroupBank
from tools.make_test100 import CLASSES

Make = Callable[..., subprocess.CompletedProcess[str]]
NUMBERS = list(CLASSES)
TRAIN = ('4', '10', '31', '7')


@pytest.fixture
def make(root: Path, tmp_path: Path, environment: dict[str, str]) -> Make:
    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(root / 'tools/make_test100.py'), '--root', str(folder)]
        command += ['--out', str(tmp_path / 'out' / 'test100_pairs.jsonl'), '--context', '3', *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def make_train(images: Path) -> None:
    for wnid in CLASSES.values():
        for name in TRAIN:
            touch(images / 'train' / wnid / f'{wnid}_{name}.JPEG')


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """The layout of the development kit: val/*.JPEG, ids of the classes, and classes that are not asked for."""
    root = tmp_path / 'imagenet'
    make_train(root)
    truth = [*NUMBERS, 1, *NUMBERS[::-1]]
    for line in range(1, len(truth) + 1):
        touch(root / 'val' / f'ILSVRC2012_val_{line:08d}.JPEG')
    kit = root / 'devkit' / 'data'
    kit.mkdir(parents=True)
    (kit / 'ILSVRC2015_clsloc_validation_ground_truth.txt').write_text('\n'.join(map(str, truth)))
    lines = [f'{wnid} {number} Name_of_{number}' for number, wnid in CLASSES.items()]
    (kit / 'map_clsloc.txt').write_text('\n'.join(['n02119789 1 kit_fox', *lines]) + '\n')
    return root


def rows_of(tmp_path: Path, read_jsonl: Any) -> list[dict[str, Any]]:
    return read_jsonl(tmp_path / 'out' / 'test100_pairs.jsonl')


def test_the_ids_are_a_hundred_in_order():
    assert len(CLASSES) == len(set(CLASSES.values())) == 100
    assert sorted(NUMBERS) == NUMBERS
    assert (NUMBERS[0], NUMBERS[-1], CLASSES[20], CLASSES[449]) == (20, 984, 'n02091134', 'n01440764')


def test_the_development_kit(devkit: Path, make: Make, tmp_path: Path, read_jsonl: Any):
    done = make(devkit)
    assert done.returncode == 0, done.stderr
    assert '100 classes, 3 context images each, 300 test images' in done.stdout
    rows = rows_of(tmp_path, read_jsonl)
    assert [row['class_id'] for row in rows] == [str(number) for number in NUMBERS]
    assert rows[0]['class_name'] == 'Name of 20'
    for place, (row, wnid) in enumerate(zip(rows, CLASSES.values(), strict=True)):
        assert len(row['context_samples']) == 3
        own = {f'train/{wnid}/{wnid}_{name}.JPEG' for name in TRAIN}
        # Class 1 stands between the two rounds of the ground truth.
        own |= {f'val/ILSVRC2012_val_{line:08d}.JPEG' for line in (place + 1, 201 - place)}
        assert {*row['context_samples'], *row['test_samples']} == own
        assert not {*row['context_samples']} & {*row['test_samples']}
    bank = GroupBank(str(tmp_path / 'out' / 'test100_pairs.jsonl'), str(devkit))
    assert len(bank) == 300
    assert list(bank.problems(3)) == []


def test_a_seed_gives_one_file_and_another_seed_another(devkit: Path, make: Make, tmp_path: Path, read_jsonl: Any):
    made = []
    for seed in ('0', '0', '1'):
        make(devkit, '--seed', seed)
        made.append(rows_of(tmp_path, read_jsonl))
    assert made[0] == made[1] != made[2]


def test_the_kaggle_copy(tmp_path: Path, make: Make, read_jsonl: Any):
    root = tmp_path / 'kaggle'
    images = root / 'ILSVRC' / 'Data' / 'CLS-LOC'
    make_train(images)
    solution = ['ImageId,PredictionString']
    for line, wnid in enumerate(CLASSES.values(), start=1):
        touch(images / 'val' / f'ILSVRC2012_val_{line:08d}.JPEG')
        solution.append(f'ILSVRC2012_val_{line:08d},{wnid} 1 2 3 4 {wnid} 5 6 7 8 ')
    (root / 'LOC_val_solution.csv').write_text('\n'.join(solution) + '\n')
    mapping = ''.join(f'{wnid} Name {number}, Latin name\n' for number, wnid in CLASSES.items())
    (root / 'LOC_synset_mapping.txt').write_text(mapping)
    sets = root / 'ILSVRC' / 'ImageSets' / 'CLS-LOC'
    sets.mkdir(parents=True)
    listed = [f'{wnid}/{wnid}_{name} 1' for wnid in CLASSES.values() for name in TRAIN]
    (sets / 'train_cls.txt').write_text('\n'.join(listed))
    done = make(root)
    assert done.returncode == 0, done.stderr
    assert f'image_folder is {images}' in done.stdout
    rows = rows_of(tmp_path, read_jsonl)
    assert rows[-1]['class_name'] == 'Name 984'
    assert 'val/ILSVRC2012_val_00000100.JPEG' in rows[-1]['context_samples'] + rows[-1]['test_samples']
    (images / 'train' / CLASSES[20] / f'{CLASSES[20]}_7.JPEG').unlink()
    done = make(root)
    assert done.returncode == 2
    assert 'class 20 (n02091134): 1 images are missing, as ' in done.stderr


def test_validation_images_in_folders_of_their_class(tmp_path: Path, make: Make, devkit: Path, read_jsonl: Any):
    for path in (devkit / 'val').iterdir():
        path.unlink()
    touch(devkit / 'val' / CLASSES[984] / 'ILSVRC2012_val_00000003.JPEG')
    assert make(devkit).returncode == 0
    last = rows_of(tmp_path, read_jsonl)[-1]
    assert f'val/{CLASSES[984]}/ILSVRC2012_val_00000003.JPEG' in last['context_samples'] + last['test_samples']


def test_all_faults_at_once(devkit: Path, make: Make):
    kit = devkit / 'devkit' / 'data'
    text = (kit / 'map_clsloc.txt').read_text()
    text = text.replace('n02091134 20 ', 'n02091134 21 ').replace('n02096051 33 Name_of_33\n', 'n02096051\n')
    (kit / 'map_clsloc.txt').write_text(text)
    (devkit / 'val' / 'ILSVRC2012_val_00000100.JPEG').unlink()
    done = make(devkit, '--context', '6')
    assert done.returncode == 2
    assert 'map_clsloc.txt:2: class 21 is n02091134, expected n02092002' in done.stderr
    assert "map_clsloc.txt:4: 'n02096051' has not the form of a line" in done.stderr
    assert 'no name for class 33 (n02096051)' in done.stderr
    assert 'class 984 (n03729826): 1 images are missing' in done.stderr
    assert 'class 20 (n02091134): 6 images in train/ and val/, --context is 6' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('part', ['train', 'devkit'])
def test_missing_parts(devkit: Path, make: Make, part: str):
    (devkit / part).rename(devkit.parent / f'{part}_elsewhere')
    done = make(devkit)
    assert done.returncode == 2
    if part == 'train':
        assert 'no train/ and val/ in it' in done.stderr
    else:
        assert 'neither map_clsloc.txt nor LOC_synset_mapping.txt' in done.stderr
        assert 'no *validation_ground_truth.txt and no LOC_val_solution.csv' in done.stderr
