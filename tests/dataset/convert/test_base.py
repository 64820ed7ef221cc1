"""What all converters share: rows and reasons are counted, and a file appears only when it is complete."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.dataset.convert.base import Converter, Row, Skip, convert


class Birds(Converter):
    """Lines of the official file are Python literals: a row, or the reason for which there is none."""

    splits = {'train': ('birds/train.txt',), 'test': ('birds/test.txt', 'birds/sizes.txt')}
    image_field = 'image'

    def rows(self, split: str) -> Iterator[Row | Skip]:
        for line in (self.root / self.splits[split][0]).read_text().splitlines():
            entry = json.loads(line)
            if isinstance(entry, str):
                yield Skip(entry)
                continue
            box = self.clip(entry['box'], 10, 10)
            yield box if isinstance(box, Skip) else {**entry, 'box': box}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / 'birds').mkdir()
    write(tmp_path, [{'image': 'a.jpg', 'box': [1, 2, 3, 4]}])
    return tmp_path


def write(root: Path, entries: list[Any]) -> None:
    (root / 'birds' / 'train.txt').write_text(''.join(json.dumps(entry) + '\n' for entry in entries))


def test_rows_are_written_and_counted(root: Path, tmp_path: Path):
    bird = {'image': 'a.jpg', 'box': [1, 2, 3, 4], 'name': 'Bl\u00e4sshuhn'}
    write(
        root, [bird, bird, 'no name', {'image': 'b.jpg', 'box': [-1, 0, 3, 11]}, {'image': None, 'box': [0, 0, 9, 9]}]
    )
    steps: list[int] = []
    summary = convert(Birds(root), 'train', tmp_path / 'new' / 'out', lambda: steps.append(1))
    lines = (tmp_path / 'new/out/train.jsonl').read_text(encoding='utf-8').splitlines()
    assert [json.loads(line) for line in lines] == [
        bird,
        bird,
        {'image': 'b.jpg', 'box': [0, 0, 3, 10]},
        {'image': None, 'box': [0, 0, 9, 9]},
    ]
    assert 'Bl\u00e4sshuhn' in lines[0], 'as people read it'
    assert (summary.rows, summary.images, summary.clipped, dict(summary.skipped)) == (4, 2, 1, {'no name': 1})
    assert summary.files == [tmp_path / 'new/out/train.jsonl']
    assert len(steps) == 5


def test_counts_of_a_split_are_its_own(root: Path, tmp_path: Path):
    write(root, [{'image': 'b.jpg', 'box': [-1, 0, 3, 3]}])
    converter = Birds(root)
    assert [convert(converter, 'train', tmp_path).clipped for _ in range(2)] == [1, 1]


@pytest.mark.parametrize(
    ('box', 'reason'),
    [
        ([3, 1, 1, 4], 'box inverted'),
        ([1, 1, 1, 4], 'box empty'),
        ([20, 1, 30, 4], 'box wholly outside'),
        ([1, 2, 3], 'box expected four finite numbers'),
        ([1, 2, float('nan'), 5], 'box expected four finite numbers'),
        ('abcd', 'box expected four finite numbers'),
    ],
)
def test_boxes_of_no_use_are_skipped_with_their_reason(root: Path, tmp_path: Path, box: Any, reason: str):
    write(root, [{'image': 'a.jpg', 'box': box}] * 3)
    summary = convert(Birds(root), 'train', tmp_path)
    assert (summary.rows, dict(summary.skipped)) == (0, {reason: 3})


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_a_clipped_box_lies_in_its_image(box: list[float]):
    converter = Birds(Path())
    clipped = converter.clip(box, 10, 20)
    if isinstance(clipped, Skip):
        assert converter.clipped == 0
        return
    x0, y0, x1, y1 = clipped
    assert 0 <= x0 < x1 <= 10
    assert 0 <= y0 < y1 <= 20
    assert converter.clipped == (clipped != box)


def test_a_wrong_split_and_missing_files(root: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="no split 'trian'; did you mean 'train'"):
        convert(Birds(root), 'trian', tmp_path)
    with pytest.raises(FileNotFoundError, match=r'test: .*test\.txt, .*sizes\.txt not found'):
        convert(Birds(root), 'test', tmp_path)
    assert list(tmp_path.glob('*.jsonl')) == []


@pytest.mark.parametrize('entry', [{'image': 'a.jpg'}, 7, [1], None])
def test_entries_of_another_form(root: Path, tmp_path: Path, entry: Any):
    write(root, [{'image': 'a.jpg', 'box': [1, 2, 3, 4]}, entry])
    with pytest.raises(ValueError, match='after 1 rows the official files have another form'):
        convert(Birds(root), 'train', tmp_path)
    assert list(tmp_path.glob('train*')) == []


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError, OSError])
def test_a_run_that_is_cut_short_leaves_the_old_file(root: Path, tmp_path: Path, error: type[BaseException]):
    write(root, [{'image': 'a.jpg', 'box': [1, 2, 3, 4]}] * 3)
    convert(Birds(root), 'train', tmp_path)
    before = (tmp_path / 'train.jsonl').read_bytes()
    steps = iter([None, error()])

    def advance() -> None:
        if step := next(steps):
            raise step

    with pytest.raises(error):
        convert(Birds(root), 'train', tmp_path, advance)
    assert (tmp_path / 'train.jsonl').read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ['train.jsonl']


def test_an_official_file_is_never_written_over(root: Path):
    class Lines(Birds):
        splits = {'train': ('birds/train.jsonl',)}

    official = root / 'birds' / 'train.jsonl'
    official.write_text(json.dumps({'image': 'a.jpg', 'box': [1, 2, 3, 4], 'answer': 'kept'}) + '\n')
    with pytest.raises(ValueError, match=r'train\.jsonl is an official file .*choose another --out'):
        convert(Lines(root), 'train', root / 'x' / '..' / 'birds')
    assert 'kept' in official.read_text()
