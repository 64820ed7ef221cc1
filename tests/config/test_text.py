"""Config text loads to the value it was made from."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.config.text import WIDTH, python_text

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text() | st.integers() | st.sampled_from(['from', 'class', 'type', 'print', "it's", '__debug__', '\xb5'])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=12,
)


def load(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(text, names)
    del names['__builtins__']
    return names


def same(one: Any, other: Any) -> bool:
    """Equal in value and type, where nan equals nan and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and repr(one) == repr(other))
    return one == other


@given(st.dictionaries(st.sampled_from(['model_args', 'data_args', 'x']), values))
def test_text_loads_to_the_same_values(sections: dict[str, Any]):
    assert same(load(python_text(sections)), sections)


@pytest.mark.parametrize('key', ['from', '__debug__', '\xb5', 'a b', "it's", '', 3])
def test_keys_that_are_no_names_stay_as_they_are(key: str | int):
    # U+00B5 as a name would turn into U+03BC.
    assert load(python_text({'a': {key: 1}})) == {'a': {key: 1}}


def test_the_text_reads_like_a_config():
    sections = {'model_args': {'type': 'tiny', 'sizes': [1, 2], 'one': (1,), 'names': {'a b': 'x' * 90}}}
    assert python_text(sections) == (
        'model_args = dict(\n'
        "    type='tiny',\n"
        '    sizes=[1, 2],\n'
        '    one=(1,),\n'
        "    names={'a b': '" + 'x' * 90 + "'},\n"
        ')\n'
    )


@given(st.lists(st.text('abc', max_size=30), max_size=12), st.integers(0, 3))
def test_lines_are_no_longer_than_they_must_be(words: list[str], depth: int):
    value: Any = words
    for _ in range(depth):
        value = {'key': value}
    assert all(len(line) <= WIDTH for line in python_text({'a': value}).splitlines())
