import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from mllm.engine.checkpoint import check_resumable
from mllm.utils.weights import load_weights, read_weights, save_weights


def state_bytes(model):
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize('text', ['llama', 'lfm2'])
def test_saved_names_are_the_live_ones_and_everything_comes_back(tmp_path, tiny, text):
    model, other = tiny.model(text, seed=1), tiny.model(text, seed=2)
    save_weights(model, str(tmp_path))
    saved = load_file(tmp_path / 'model.safetensors').keys()
    tied = {'lm_head.weight'} if text == 'lfm2' else set()
    assert set(saved) == model.state_dict().keys() - tied
    assert 'model.multi_modal_projector.feature_mean' in saved
    assert state_bytes(model) != state_bytes(other)
    load_weights(other, str(tmp_path))
    assert state_bytes(model) == state_bytes(other)
    if tied:
        assert other.lm_head.weight is other.model.language_model.embed_tokens.weight


def test_sharded_weights(tmp_path, tiny):
    model, other = tiny.model(seed=1), tiny.model(seed=2)
    model.save_pretrained(tmp_path, save_original_format=False, max_shard_size='50KB')
    assert len(list(tmp_path.glob('model-*.safetensors'))) > 1
    load_weights(other, str(tmp_path))
    assert state_bytes(model) == state_bytes(other)


def test_every_difference_is_listed_and_nothing_is_changed(tmp_path, tiny):
    model = tiny.model()
    save_weights(model, str(tmp_path))
    weights = load_file(tmp_path / 'model.safetensors')
    del weights['lm_head.weight']
    weights['multi_modal_projector.linear_1.weight'] = torch.zeros(2)
    weights['model.multi_modal_projector.bias'] = torch.zeros(5)
    save_file(weights, tmp_path / 'model.safetensors')
    other = tiny.model(seed=2)
    before = state_bytes(other)
    with pytest.raises(ValueError, match=r'1 missing: lm_head\.weight') as error:
        load_weights(other, str(tmp_path))
    assert '1 unexpected: multi_modal_projector.linear_1.weight' in str(error.value)
    assert '1 of another shape: model.multi_modal_projector.bias [5] instead of [32]' in str(error.value)
    assert state_bytes(other) == before


def test_the_format_of_stock_transformers_is_refused(tmp_path, tiny):
    model = tiny.model()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='missing'):
        load_weights(model, str(tmp_path))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'neither model\.safetensors nor'):
        read_weights(str(tmp_path))
    (tmp_path / 'model.safetensors').write_bytes(b'\x10\0\0\0\0\0\0\0{"a":')
    with pytest.raises(ValueError, match='not written to its end'):
        read_weights(str(tmp_path))


def test_check_resumable(tmp_path, caplog):
    for name in ('trainer_state.json', 'scheduler.pt', 'rng_state_0.pth', 'rng_state_1.pth'):
        (tmp_path / name).write_text(json.dumps({}))
    with pytest.raises(ValueError, match=r'optimizer\.pt missing'):
        check_resumable(str(tmp_path), world_size=2)
    (tmp_path / 'optimizer.pt').touch()
    with caplog.at_level(logging.WARNING):
        check_resumable(str(tmp_path), world_size=2)
        assert not caplog.records
        check_resumable(str(tmp_path), world_size=4)
    assert 'written by 2 processes, this run has 4' in caplog.text
