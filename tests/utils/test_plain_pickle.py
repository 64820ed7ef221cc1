"""Pickles are read as data: what could run code is refused, what is damaged is told."""

import os
import pickle
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.utils.plain_pickle import load_plain_pickle

REFS = [{'ref_id': 7, 'split': 'testA', 'bbox': [1.5, 2.0], 'ids': (1, 2), 'sent': 'caf\u00e9 on left', 'big': 2**70}]


class Evil:
    """Writes a file when it is unpickled by what trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'refs(unc).p'


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_of_every_protocol(path: Path, protocol: int):
    value = [*REFS, {1, 2}, frozenset({3}), None, True]
    path.write_bytes(pickle.dumps(value, protocol))
    assert load_plain_pickle(path) == value


def test_texts_of_python_2(path: Path):
    # What Python 2 wrote for [{'sent': 'dog'}, set([1])]: byte strings, and its own name for the module of set.
    path.write_bytes(
        b'\x80\x02]q\x00(}q\x01U\x04sentq\x02U\x03dogq\x03sc__builtin__\nset\nq\x04]q\x05K\x01a\x85q\x06Rq\x07e.'
    )
    assert load_plain_pickle(path) == [{'sent': 'dog'}, {1}]


def test_code_is_refused_and_not_run(path: Path, tmp_path: Path):
    made = tmp_path / 'made'
    path.write_bytes(pickle.dumps([*REFS, Evil(made)]))
    with pytest.raises(ValueError, match=r'refs\(unc\)\.p: refused, it names (posix|nt|os)\.mkdir: .*could run code'):
        load_plain_pickle(path)
    assert not made.exists()
    pickle.loads(path.read_bytes())
    assert made.exists(), 'this pickle does run code where it is trusted'


@pytest.mark.parametrize('value', [eval, getattr, Fraction(1, 2), OrderedDict(), Path('a'), print, type, object()])
def test_names_beyond_containers_are_refused(path: Path, value: Any):
    path.write_bytes(pickle.dumps([value]))
    with pytest.raises(ValueError, match='refused, it names'):
        load_plain_pickle(path)


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\x80',
        b'[{"ref_id": 1}]',
        b'\x80\x02]q\x00(',
        b'P1\n.',
        b'\x80\x02\x82\x01.',
        b'\x80\x02h\x07.',
        b'<html>',
    ],
)
def test_what_is_no_pickle(path: Path, data: bytes):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'refs\(unc\)\.p: '):
        load_plain_pickle(path)


@given(st.data())
def test_cut_or_changed_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    path = tmp_path_factory.mktemp('cut') / 'a.p'
    whole = pickle.dumps(REFS, data.draw(st.integers(0, 5)))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    path.write_bytes(cut)
    with pytest.raises(ValueError, match=r'a\.p: not a whole pickle'):
        load_plain_pickle(path)
