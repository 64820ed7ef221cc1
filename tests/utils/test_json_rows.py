"""Annotations in either form are the same rows, and each is named by its line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.utils.json_rows import ArrayFile, open_rows
from mllm.utils.line_file import LineFile

ROWS = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8), max_size=3), max_size=6)


@given(rows=ROWS, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
def test_an_array_holds_the_rows_it_was_written_from(tmp_path_factory, rows, indent, ascii_only):
    path = tmp_path_factory.mktemp('rows') / 'rows.jsonl'
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii_only), encoding='utf-8')
    found = open_rows(str(path))
    assert isinstance(found, ArrayFile)
    assert [found[index] for index in range(len(found))] == rows


def test_the_content_tells_the_form(tmp_path):
    array, lines = tmp_path / 'a.jsonl', tmp_path / 'b.json'
    array.write_text('\ufeff [\n {"a": 1},\n\n {"a":\n 2}\n]\n', encoding='utf-8')
    lines.write_text('{"a": 1}\n{"a": 2}\n')
    assert isinstance(open_rows(str(lines)), LineFile)
    rows = open_rows(str(array))
    assert [rows.where(index) for index in range(2)] == [f'{array}:2', f'{array}:4']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[{"a": 1},\n{"a" 2}]', r'rows\.json:2: not JSON'),
        ('[{"a": 1}', r'rows\.json:1: not JSON'),
        ('[{"a": 1},\n7]', r'rows\.json:2: expected a JSON object, found int'),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, text, message):
    path = tmp_path / 'rows.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        open_rows(str(path))


def test_an_array_of_other_text(tmp_path):
    path = tmp_path / 'rows.json'
    path.write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(ValueError, match=r'rows\.json: not JSON \(invalid start byte, byte 9\); write it in UTF-8'):
        open_rows(str(path))


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json'):
        open_rows(str(tmp_path / 'nowhere.json'))
