"""Official JSON is read as it comes, packed or not; damage and other files are told."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.dataset.convert.json_stream import stream_items, stream_pairs

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def make(content: Any, name: str = 'questions.json') -> Path:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return make


@given(st.lists(VALUES, min_size=1, max_size=4), st.booleans())
def test_elements_are_those_of_json(tmp_path_factory: pytest.TempPathFactory, values: list[Any], packed: bool):
    path = tmp_path_factory.mktemp('stream') / 'a.json'
    text = json.dumps({'info': {'n': 1}, 'questions': values}).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    assert list(stream_items(path, 'questions.item')) == values


@given(st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=4))
def test_pairs_are_those_of_json(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]):
    path = tmp_path_factory.mktemp('stream') / 'a.json'
    path.write_text(json.dumps(value))
    assert dict(stream_pairs(path)) == value


def test_numbers_stay_what_they_are(write: Callable[..., Path]):
    path = write(b'[1, 1.0, 159.64000000000001, -3e2]')
    assert [repr(value) for value in stream_items(path)] == ['1', '1.0', '159.64000000000001', '-300.0']


@pytest.mark.parametrize('pack', [bytes, gzip.compress])
def test_a_mark_of_utf_8_at_the_start(write: Callable[..., Path], pack: Callable[[bytes], bytes]):
    assert list(stream_items(write(pack(b'\xef\xbb\xbf["caf\xc3\xa9"]')))) == ['caf\u00e9']


def test_a_file_is_not_read_ahead(write: Callable[..., Path]):
    """The first element is there before the damage at the end is met."""
    elements = stream_items(write(json.dumps([{'id': n, 'text': 'x' * 100} for n in range(5000)]).encode()[:-2]))
    assert next(elements)['id'] == 0
    with pytest.raises(ValueError, match=r'questions\.json: not whole JSON .*fetch it again'):
        list(elements)


WHOLE = json.dumps([{'id': number} for number in range(2000)]).encode()


@pytest.mark.parametrize(
    'data',
    [WHOLE[:-1], WHOLE[:700], b'', b'[{"id": 1}, {"id"', b'[{"a": "\xff\xfe"}]', b'<html>no</html>', b'PK\x03\x04zip'],
)
@pytest.mark.parametrize('stream', [stream_items, stream_pairs])
def test_damage(write: Callable[..., Path], stream: Any, data: bytes):
    with pytest.raises(ValueError, match=r'questions\.json: '):
        list(stream(write(data)))


@pytest.mark.parametrize('keep', [20, -12, -1])
def test_a_packed_file_that_is_cut_off(write: Callable[..., Path], keep: int):
    with pytest.raises(ValueError, match=r'questions\.json: not whole JSON'):
        list(stream_items(write(gzip.compress(WHOLE)[:keep])))


def test_a_packed_file_with_a_wrong_byte(write: Callable[..., Path]):
    data = bytearray(gzip.compress(WHOLE))
    data[-6] ^= 1  # of the checksum
    with pytest.raises(ValueError, match=r'questions\.json: not whole JSON'):
        list(stream_items(write(bytes(data))))


def test_another_file_of_the_dataset(write: Callable[..., Path]):
    with pytest.raises(ValueError, match=r"no array with entries at 'questions\.item'; is it another file"):
        list(stream_items(write({'annotations': [1]}), 'questions.item'))
    with pytest.raises(ValueError, match="no array with entries at 'item'"):
        list(stream_items(write({'annotations': [1]})))
    with pytest.raises(ValueError, match='no object with entries at the top'):
        list(stream_pairs(write([1, 2])))
    with pytest.raises(ValueError, match="no object with entries at 'scenes'"):
        list(stream_pairs(write({'other': {}}), 'scenes'))
