"""How the tensors of samples become a batch's."""

import pytest
import torch

from mllm.models.hf_vlm.images import growing_axis, join


@pytest.mark.parametrize(
    ('one', 'two', 'axis'),
    [
        ((1, 3, 8, 8), (2, 3, 8, 8), 0),
        ((16, 1176), (32, 1176), 0),
        ((1, 1, 3, 8, 8), (1, 2, 3, 8, 8), 1),
        ((1, 3, 14, 50), (1, 3, 14, 100), 3),
        ((1,), (1,), 0),
        # A single image of LLaVA-OneVision has tiles, two have none.
        ((1, 5, 3, 8, 8), (2, 1, 3, 8, 8), 0),
    ],
)
def test_the_axis_that_counts_images(one: tuple[int, ...], two: tuple[int, ...], axis: int):
    assert growing_axis(torch.zeros(one), torch.zeros(two)) == axis


def test_what_is_shorter_is_filled_up():
    first, second = torch.ones(2, 1, 3), torch.full((1, 2, 2), 2)
    joined = join([first, second.float()], axis=0)
    assert joined.tolist() == [[[1, 1, 1], [0, 0, 0]]] * 2 + [[[2, 2, 0], [2, 2, 0]]]
    assert join([first, torch.zeros(2, 1, 0), first], axis=2).tolist() == [[[1] * 6]] * 2
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert join([mask, mask[:, :1], mask[:, :0]], axis=0).tolist() == [[True, True], [True, False], [False, False]]
