"""Deltas give back the model over their own base, and are refused over any other."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mllm.models.llava.delta import apply_delta, make_delta, off_grid

ROWS, WIDTH = 40, 64


def checkpoint(folder: Path, weights: dict[str, torch.Tensor]) -> str:
    folder.mkdir()
    torch.save(weights, folder / 'pytorch_model.bin')
    (folder / 'config.json').write_text('{"model_type": "llava"}')
    return str(folder)


def base_weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    shapes = {'model.embed_tokens.weight': (ROWS, WIDTH), 'model.layers.0.mlp.up_proj.weight': (512, WIDTH)}
    return {name: (torch.randn(shape) * 0.02).half() for name, shape in shapes.items()}


def trained(base: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    weights = {name: (tensor.float() + 5e-4 * torch.randn_like(tensor.float())).half() for name, tensor in base.items()}
    grown = torch.cat([weights['model.embed_tokens.weight'], torch.randn(3, WIDTH).half()])
    return {**weights, 'model.embed_tokens.weight': grown, 'model.mm_projector.weight': torch.randn(8, 8).half()}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    base = base_weights(0)
    vicuna = {name: (tensor.float() + 5e-4 * torch.randn_like(tensor.float())).half() for name, tensor in base.items()}
    found = {
        'base': checkpoint(tmp_path / 'base', {**base, 'model.layers.0.self_attn.rotary_emb.inv_freq': torch.ones(2)}),
        'sibling': checkpoint(tmp_path / 'sibling', vicuna),
        'other': checkpoint(tmp_path / 'other', base_weights(9)),
        'target': checkpoint(tmp_path / 'target', trained(base, 1)),
        'delta': str(tmp_path / 'delta'),
    }
    make_delta(found['base'], found['target'], found['delta'])
    return found


def test_a_delta_over_its_base_is_the_model(folders, tmp_path: Path):
    apply_delta(folders['base'], folders['delta'], str(tmp_path / 'out'))
    places = Path(folders['target']), tmp_path / 'out'
    wanted, found = (torch.load(place / 'pytorch_model.bin', weights_only=True) for place in places)
    assert wanted.keys() == found.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-3, rtol=1e-3)
    assert torch.equal(found['model.embed_tokens.weight'][ROWS:], wanted['model.embed_tokens.weight'][ROWS:])
    assert (tmp_path / 'out' / 'config.json').is_file()


@pytest.mark.parametrize('name', ['sibling', 'other'])
def test_another_base_is_recognised(folders, tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=r'is not the base this delta was made over: .* have digits left over'):
        apply_delta(folders[name], folders['delta'], str(tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_a_base_of_other_shape_is_named(folders, tmp_path: Path):
    weights = {**base_weights(0), 'model.embed_tokens.weight': torch.zeros(ROWS, 2 * WIDTH).half()}
    weights.pop('model.layers.0.mlp.up_proj.weight')
    wrong = checkpoint(tmp_path / 'wrong', weights)
    with pytest.raises(ValueError, match=r'up_proj.weight is missing') as error:
        apply_delta(wrong, folders['delta'], str(tmp_path / 'out'))
    assert f'[{ROWS}, {2 * WIDTH}] there and [{ROWS + 3}, {WIDTH}] here' in str(error.value)


@given(st.integers(0, 10**6), st.sampled_from([1e-5, 1e-3, 0.1]), st.sampled_from([torch.float16, torch.bfloat16]))
def test_the_right_base_leaves_no_digits(seed: int, step: float, dtype: torch.dtype):
    generator = torch.Generator().manual_seed(seed)
    base = (torch.randn(500, generator=generator) * 0.05).to(dtype)
    target = (base.float() + step * torch.randn(500, generator=generator)).to(dtype)
    assert off_grid(base, target - base)[0] == 0
