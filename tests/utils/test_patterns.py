"""What a pattern of names chooses."""

import pytest

from mllm.utils.patterns import matches

NAME = 'model.language_model.embed_tokens.weight'


@pytest.mark.parametrize(
    'pattern', [NAME, 'model.language_model', '*embed_tokens', '*.weight', 'model.*.embed_tokens', '*']
)
def test_a_name_or_a_module_above_it_with_wildcards_or_without(pattern: str):
    assert matches(NAME, pattern)


@pytest.mark.parametrize(
    'pattern', ['model.language', 'embed_tokens', '*.bias', 'language_model.*', '', 'model.?.weight']
)
def test_no_part_of_a_word(pattern: str):
    assert not matches(NAME, pattern)
