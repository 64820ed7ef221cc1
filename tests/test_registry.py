"""Registries: names are found, misspelt ones are answered with the nearest."""

import pytest

from mllm.registry import Registry


def make_registry() -> Registry:
    registry = Registry('FRUIT')

    @registry.register_module()
    def apple(colour: str = 'red') -> str:
        return f'{colour} apple'

    @registry.register_module('pear')
    class _Pear:
        pass

    return registry


def test_build_calls_the_entry_with_the_other_keys():
    assert make_registry().build({'type': 'apple'}, colour='green') == 'green apple'


@pytest.mark.parametrize(('wrong', 'hint'), [('aple', "did you mean 'apple'"), ('zzz', 'there are: apple, pear')])
def test_unknown_name_is_answered_with_what_exists(wrong: str, hint: str):
    with pytest.raises(ValueError, match=hint):
        make_registry().get(wrong)


def test_a_config_without_type_is_refused():
    with pytest.raises(ValueError, match='type='):
        make_registry().build({'colour': 'red'})


def test_a_second_entry_may_not_take_a_name():
    registry = make_registry()
    with pytest.raises(ValueError, match='already registered'):
        registry.register_module('apple')(str)
