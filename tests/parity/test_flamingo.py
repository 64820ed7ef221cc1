"""Flamingo's folders: what is equal, what is not, and what is refused."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.parity.flamingo import check
from tests.parity.own_flamingo import openflamingo_format, otter_format, otter_video_format

FORMATS = {'openflamingo': openflamingo_format, 'otter': otter_format, 'otter_video': otter_video_format}


@pytest.fixture(params=list(FORMATS))
def folder(request, tmp_path: Path) -> Path:
    return FORMATS[request.param](tmp_path / request.param)


def test_everything_is_as_computed_by_hand(folder: Path):
    results = dict(check(folder))
    assert ('logits_Timg1_two_image_tokens' in results) == ('otter' in folder.name)
    assert {'logits', 'loss', 'vision_tokens', 'perceiver_out', 'export and import'} <= results.keys()
    for name, value in results.items():
        assert value is True if isinstance(value, bool) else value < 1e-5, name
    if 'otter' in folder.name:
        io = load_file(folder / 'io.safetensors')
        assert io['generated_ids_cache'].tolist() != io['generated_ids_nocache'].tolist()


def test_what_differs_is_seen(folder: Path):
    path = folder / 'state_dict.safetensors'
    state = load_file(path)
    name = next(name for name in state if name.endswith('3.gated_cross_attn_layer.attn.to_kv.weight'))
    state[name] = state[name] * 1.01
    save_file(state, path)
    results = dict(check(folder))
    assert results['logits'] > 1e-4
    assert results['perceiver_out'] < 1e-5
