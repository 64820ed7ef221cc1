import gzip
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mllm.utils import line_file
from mllm.utils.line_file import LineFile


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes) -> str:
        path = tmp_path / 'rows.jsonl'
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def test_rows_in_order_with_their_place(write):
    path = write('{"a": 1}\n{"a": "\u00e9"}\n{"a": [3]}')
    rows = LineFile(path)
    assert list(rows) == [{'a': 1}, {'a': '\u00e9'}, {'a': [3]}]
    assert rows.where(2) == f'{path}:3'


@pytest.mark.parametrize('end', ['\n', '\r\n', '\n\n', '\n   \t \n', '\n' + ' ' * 500 + '\r\n'])
def test_blank_lines_do_not_count_but_keep_their_numbers(write, end: str):
    path = write(end + '{"a": 1}' + end + '  {"a": 2}' + end)
    rows = LineFile(path)
    assert list(rows) == [{'a': 1}, {'a': 2}]
    text = Path(path).read_text()
    assert rows.where(1) == f'{path}:{text[: text.index("2")].count(chr(10)) + 1}'


@pytest.mark.parametrize('content', ['', '\n\n', ' \n \n'])
def test_a_file_without_rows(write, content: str):
    assert len(LineFile(write(content))) == 0


def test_a_byte_order_mark_is_no_part_of_the_first_row(write):
    assert LineFile(write(b'\xef\xbb\xbf{"a": 1}\n'))[0] == {'a': 1}


@pytest.mark.parametrize('index', [-1, 2, 100])
def test_an_index_outside(write, index: int):
    rows = LineFile(write('{}\n{}\n'))
    with pytest.raises(IndexError, match=rf'index {index} is outside .*rows.jsonl with 2 lines'):
        rows[index]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('{"a": ', 'not JSON'),
        ('{"a": 1} {"a": 2}', 'not JSON'),
        ('[1, 2]', 'expected a JSON object, found list'),
        ('7', 'expected a JSON object, found int'),
        (b'{"a": "\xff\xfe"}', 'not JSON'),
    ],
)
def test_a_bad_line_is_named_and_spoils_no_other(write, line: str | bytes, message: str):
    line = line.encode() if isinstance(line, str) else line
    rows = LineFile(write(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n'))
    with pytest.raises(ValueError, match=rf'rows\.jsonl:3: {message}'):
        rows[1]
    assert (rows[0], rows[2]) == ({'a': 1}, {'a': 2})


def test_files_of_another_kind(write, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r'missing\.jsonl: no such annotation file'):
        LineFile(str(tmp_path / 'missing.jsonl'))
    with pytest.raises(FileNotFoundError, match='no such annotation file'):
        LineFile(str(tmp_path))
    for array in ('[{"a": 1},\n{"a": 2}]', '\n [\n]', b'\xef\xbb\xbf[{}]'):
        with pytest.raises(ValueError, match=r'rows\.jsonl is a JSON array; write one JSON object a line'):
            LineFile(write(array))
    with pytest.raises(ValueError, match=r'gzip-compressed; unpack it'):
        LineFile(write(gzip.compress(b'{"a": 1}\n')))


def test_pickles_to_a_path_and_opens_again(write):
    rows = LineFile(write('{"a": 1}\n' * 1000))
    data = pickle.dumps(rows)
    assert len(data) < 500
    assert pickle.loads(data)[999] == {'a': 1}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=8) | st.integers(), max_size=3), max_size=12),
    blanks=st.lists(st.sampled_from(['', ' ', '\r', '\t  ']), min_size=13, max_size=13),
    chunk=st.integers(1, 40),
)
def test_reads_what_was_written_whatever_the_chunk(write, monkeypatch, rows: list[dict], blanks: list[str], chunk: int):
    monkeypatch.setattr(line_file, 'CHUNK', chunk)
    lines = [text for row, blank in zip(rows, blanks) for text in (blank, json.dumps(row, ensure_ascii=False))]
    path = write('\n'.join(lines))
    read = LineFile(path)
    assert list(read) == rows
    assert [read.where(index) for index in range(len(rows))] == [
        f'{path}:{2 * index + 2}' for index in range(len(rows))
    ]
