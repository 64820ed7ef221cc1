"""Randomness depends on what is drawn, never on who draws it."""

from hypothesis import given
from hypothesis import strategies as st

from mllm.utils.rng import ItemRng, item_rng


@given(st.integers(0, 2**31), st.integers(0, 100), st.integers(0, 10**9), st.text(max_size=8))
def test_the_same_key_draws_the_same(seed: int, epoch: int, index: int, purpose: str):
    first = item_rng(seed, epoch, index, purpose).integers(0, 2**31, 4)
    again = ItemRng(seed, epoch, index)(purpose).integers(0, 2**31, 4)
    assert first.tolist() == again.tolist()


def test_every_part_of_the_key_matters():
    keys = [(0, 0, 0, 'a'), (1, 0, 0, 'a'), (0, 1, 0, 'a'), (0, 0, 1, 'a'), (0, 0, 0, 'b')]
    draws = {tuple(item_rng(*key).integers(0, 2**31, 4).tolist()) for key in keys}
    assert len(draws) == len(keys)
