"""Projectors take sequences and maps alike; 'pool' standardises what it pools."""

import pytest
import torch

from mllm.models.llava.projector import FeaturePool, build_projector


@pytest.mark.parametrize(('name', 'tokens'), [('linear', 9), ('mlp2x_gelu', 9), ('pool', 4), ('grid', 9)])
def test_maps_and_sequences_are_the_same_features(name: str, tokens: int):
    projector = build_projector(name, 6, 10, *{'pool': (4, 5), 'grid': (9,)}.get(name, ()))
    maps = torch.randn(2, 6, 3, 3)
    out = projector(maps)
    assert out.shape == (2, tokens, 10)
    sequence = torch.stack([maps[:, :, row, column] for row in range(3) for column in range(3)], dim=1)
    torch.testing.assert_close(out, projector(sequence))


def test_pool_is_norm_mean_map_unit_length_and_statistics():
    pool = FeaturePool(6, 1, 4)
    with torch.no_grad():
        pool.norm.weight.uniform_(0.5, 2)
        pool.mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
        pool.std.copy_(torch.tensor([0.5, 1.0, 2.0, 0.1]))
    features = torch.randn(3, 7, 6)
    centred = (features - features.mean(-1, keepdim=True)) / (
        features.var(-1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    mapped = (centred * pool.norm.weight + pool.norm.bias).mean(1) @ pool.proj.weight.T
    expected = (mapped / mapped.norm(dim=-1, keepdim=True) - pool.mean) / pool.std
    torch.testing.assert_close(pool(features)[:, 0], expected)


def test_pool_averages_neighbours_in_groups():
    pool = FeaturePool(6, 2, 4)
    features = torch.randn(1, 8, 6)
    first = FeaturePool(6, 1, 4)
    first.load_state_dict(pool.state_dict())
    torch.testing.assert_close(pool(features)[:, :1], first(features[:, :4]))
    torch.testing.assert_close(pool(features)[:, 1:], first(features[:, 4:]))


def test_statistics_are_saved_but_do_not_learn():
    projector = build_projector('pool', 6, 10)
    assert {'pool.mean', 'pool.std'} <= set(projector.state_dict())
    assert not {'pool.mean', 'pool.std'} & {name for name, _ in projector.named_parameters()}


def test_grid_standardises_and_adds_the_place():
    grid = build_projector('grid', 6, 10, 4)
    assert {'mean', 'std'} <= set(grid.state_dict())
    assert {name for name, _ in grid.named_parameters()} == {'linear.weight', 'linear.bias', 'position'}
    grid.mean.copy_(torch.arange(6.0))
    grid.std.fill_(2.0)
    features = torch.randn(3, 4, 6)
    expected = (features - torch.arange(6.0)) / 2 @ grid.linear.weight.T + grid.linear.bias + grid.position
    torch.testing.assert_close(grid(features), expected)
    moved = grid(features.flip(1)) - grid(features).flip(1)
    assert moved.abs().max() > 0.1, 'equal features at other places are told apart'


def test_grid_names_the_number_that_fits():
    with pytest.raises(ValueError, match=r"projector_args\.num_tokens=4, but the tower's features are 9"):
        build_projector('grid', 6, 10, 4)(torch.randn(1, 6, 3, 3))


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"'quadratic'.*linear, mlp2x_gelu, pool, grid"):
        build_projector('quadratic', 6, 10)
