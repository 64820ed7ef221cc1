"""tools/make_isekai.py: a folder of pictures -> files that the datasets read."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllm.dataset.single_image_dataset.link_context import ISEKAIEval2Way, LinkContextDataset
from mllm.utils.rng import ItemRng

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(8):
        for copy in range(3):
            path = tmp_path / 'pictures' / f'concept_{number}' / f'{copy}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (10, 8), (30 * number, 0, 80 * copy)).save(path)
    return tmp_path / 'pictures'


@pytest.fixture
def make(root: Path, tmp_path: Path, environment: dict[str, str]) -> Make:
    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(root / 'tools/make_isekai.py'), str(folder), '--out', str(tmp_path / 'out')]
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)

    return run


def test_files_and_episodes(pictures: Path, make: Make, tmp_path: Path, read_jsonl: Any):
    done = make(pictures, '--val', '0.25', '--test', '0.25')
    assert done.returncode == 0, done.stderr
    assert '8 concepts (4 train, 2 val, 2 test)' in done.stdout
    rows = {split: read_jsonl(tmp_path / 'out' / f'{split}_pairs.jsonl') for split in ('train', 'val', 'test')}
    names = [row['class_name'] for members in rows.values() for row in members]
    assert sorted(names) == [f'concept {number}' for number in range(8)]
    for members in rows.values():
        inside = {row['class_id'] for row in members}
        assert all(neighbour[0] in inside for row in members for neighbour in row['neighbors'])
    policy = {'type': 'link_context', 'names': 'invented', 'word_length': (4, 4)}
    dataset = LinkContextDataset(str(tmp_path / 'out/train_pairs.jsonl'), str(pictures), policy=policy, shot=2)
    assert list(dataset.problems()) == []
    assert len(dataset.episode(0, ItemRng(0)).support) == 4
    questions = ISEKAIEval2Way(str(tmp_path / 'out/isekai.jsonl'), str(pictures), shot=2)
    assert list(questions.problems()) == []
    assert len(questions) == 6
    row = read_jsonl(tmp_path / 'out/isekai.jsonl')[0]
    assert row['image_name'] not in row['positive_list'] + row['negative_list']


def test_the_same_seed_gives_the_same_files(pictures: Path, make: Make, tmp_path: Path):
    make(pictures)
    first = {path.name: path.read_text() for path in (tmp_path / 'out').iterdir()}
    make(pictures)
    assert first == {path.name: path.read_text() for path in (tmp_path / 'out').iterdir()}


def test_each_picture_of_the_test_concepts_is_asked_about_once(
    pictures: Path, make: Make, tmp_path: Path, read_jsonl: Any
):
    """With an odd number of them, and more pictures of some."""
    for name in ('concept_5/3.tif', 'concept_2/3.TIFF'):
        Image.new('RGB', (10, 8)).save(pictures / name)
    (pictures / 'concept_1/a.heic').touch()
    (pictures / 'concept_1/.DS_Store').touch()
    done = make(pictures, '--test', '0.6', '--val', '0')
    assert 'Left out, because their endings are not those of pictures: 1 .heic\n' in done.stdout
    tested = read_jsonl(tmp_path / 'out/test_pairs.jsonl')
    assert len(tested) == 5
    assert len({len(row['samples']) for row in tested}) == 2
    asked = Counter(row['image_name'] for row in read_jsonl(tmp_path / 'out/isekai.jsonl'))
    assert asked == Counter(path for row in tested for path in row['samples'])
    questions = ISEKAIEval2Way(str(tmp_path / 'out/isekai.jsonl'), str(pictures), shot=2)
    assert list(questions.problems()) == []
    for index in range(len(questions)):
        row = questions.bank[index]
        assert row.query not in [path for paths in row.supports for path in paths]


def test_all_faults_are_listed_at_once(pictures: Path, make: Make):
    (pictures / 'concept_0' / '0.png').write_bytes(b'not a picture')
    (pictures / 'empty').mkdir()
    done = make(pictures)
    assert done.returncode == 2
    assert 'concept_0/0.png' in done.stderr
    assert 'empty: 0 pictures' in done.stderr
    assert 'Traceback' not in done.stderr


def test_names_that_cannot_be_answers_are_refused_and_hidden_folders_passed_over(pictures: Path, make: Make):
    for name in ('Concept 1', '_', '<image>', '.ipynb_checkpoints'):
        shutil.copytree(pictures / 'concept_0', pictures / name)
    (pictures / 'concept_0' / '._0.png').write_bytes(b'resource fork')
    done = make(pictures)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3
    assert 'the same name as' in done.stderr
    assert '<image>: the folder' in done.stderr


def test_a_missing_folder_is_named(make: Make, tmp_path: Path):
    done = make(tmp_path / 'nowhere')
    assert done.returncode == 2
    assert 'nowhere: no such folder' in done.stderr
