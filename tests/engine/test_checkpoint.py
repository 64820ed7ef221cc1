import json
import logging
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mllm.engine.checkpoint import (
    UNFINISHED,
    begin_run,
    check_resumable,
    checkpoints,
    end_run,
    is_unfinished,
    move_model,
    publish,
    remove_oldest,
    resume_point,
)
from mllm.utils.manifest import damage, write_manifest
from mllm.utils.weight_files import read_folder
from mllm.utils.weights import load_weights, save_weights


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
    with pytest.raises(FileNotFoundError, match=r'has no weights: none of model\.safetensors'):
        read_folder(str(tmp_path))
    (tmp_path / 'model.safetensors').write_bytes(b'\x10\0\0\0\0\0\0\0{"a":')
    with pytest.raises(ValueError, match='not written to its end'):
        read_folder(str(tmp_path))


def make_checkpoint(folder, step, names=('optimizer.pt', 'rng_state.pth', 'trainer_state.json')):
    path = folder / f'checkpoint-{step}'
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text(f'{name} of step {step}')
    write_manifest(path)
    return path


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


def test_a_run_goes_on_from_the_last_checkpoint_by_number(tmp_path, caplog):
    for step in (9, 10, 100):
        make_checkpoint(tmp_path, step)
    (tmp_path / 'checkpoint-best').mkdir()
    (tmp_path / 'checkpoint-300').write_text('a file')
    make_checkpoint(tmp_path / UNFINISHED, 400)
    assert resume_point(str(tmp_path)) == str(tmp_path / 'checkpoint-100')
    assert resume_point(str(tmp_path), afresh=True) is None
    assert resume_point(str(tmp_path / 'empty')) is None
    assert not caplog.records


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[3] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    ('harm', 'name', 'told'),
    [
        pytest.param(cut, 'optimizer.pt', r'optimizer\.pt has 22 bytes instead of 23', id='cut'),
        pytest.param(flip, 'rng_state.pth', r'rng_state\.pth has changed', id='flipped'),
        pytest.param(Path.unlink, 'trainer_state.json', r'trainer_state\.json is missing', id='missing'),
        pytest.param(Path.unlink, 'manifest.json', r'manifest\.json is missing', id='without a manifest'),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_in_one_line(tmp_path, caplog, harm, name, told):
    whole, damaged = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
    harm(damaged / name)
    assert resume_point(str(tmp_path)) == str(whole)
    (record,) = caplog.records
    assert re.search(told, record.getMessage())
    assert 'not continued from checkpoint-20' in record.getMessage()
    assert resume_point(str(tmp_path), named=str(whole)) == str(whole)
    with pytest.raises(ValueError, match=told):
        resume_point(str(tmp_path), named=str(damaged))


def test_weights_alone_are_passed_over(tmp_path, caplog):
    make_checkpoint(tmp_path, 5, ['model.safetensors', 'trainer_state.json'])
    assert resume_point(str(tmp_path)) is None
    assert 'save_only_model' in caplog.text


def test_a_run_that_was_cut_off_is_known_by_its_folder(tmp_path):
    assert not is_unfinished(str(tmp_path))
    begin_run(str(tmp_path))
    make_checkpoint(tmp_path / UNFINISHED, 5)
    kept = make_checkpoint(tmp_path, 4)
    begin_run(str(tmp_path))
    assert is_unfinished(str(tmp_path))
    assert list((tmp_path / UNFINISHED).iterdir()) == []
    assert damage(kept) is None
    end_run(str(tmp_path))
    assert not is_unfinished(str(tmp_path))


def test_a_run_afresh_removes_checkpoints_and_nothing_else(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    for step in (5, 7):
        make_checkpoint(tmp_path, step)
    # Left by a run that was killed while it removed this one.
    make_checkpoint(tmp_path / UNFINISHED / 'removed-checkpoint-7', 1)
    begin_run(str(tmp_path), afresh=True)
    end_run(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_a_checkpoint_takes_the_place_of_one_of_its_name(tmp_path):
    begin_run(str(tmp_path))
    final = make_checkpoint(tmp_path, 4, ['old.pt'])
    part = make_checkpoint(tmp_path / UNFINISHED, 4, ['new.pt'])
    publish(part, final)
    assert sorted(path.name for path in final.iterdir()) == ['manifest.json', 'new.pt']
    assert damage(final) is None
    assert list((tmp_path / UNFINISHED).iterdir()) == []


@pytest.mark.parametrize(
    ('limit', 'keep', 'left'),
    [
        (None, [8], [2, 4, 6, 8, 10]),
        (0, [8], [2, 4, 6, 8, 10]),
        (5, [8], [2, 4, 6, 8, 10]),
        (3, [10], [6, 8, 10]),
        (2, [10, 2], [2, 10]),
        (1, [10, 4], [4, 10]),
        # The one just written is not the last by number where a run went back to an earlier one.
        (2, [4], [4, 10]),
        (1, [4], [4]),
    ],
)
def test_the_oldest_go_and_those_to_keep_stay(tmp_path, limit, keep, left):
    begin_run(str(tmp_path))
    for step in (2, 4, 6, 8, 10):
        make_checkpoint(tmp_path, step)
    remove_oldest(str(tmp_path), limit, [tmp_path / f'checkpoint-{step}' for step in keep])
    assert [path.name for path in checkpoints(str(tmp_path))] == [f'checkpoint-{step}' for step in left]
    assert list((tmp_path / UNFINISHED).iterdir()) == []


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('shards_before', [False, True])
@pytest.mark.parametrize('shards_after', [False, True])
def test_a_folder_holds_the_weights_of_one_model_or_none(tmp_path, tiny, shards_before, shards_after, monkeypatch):
    old, new = tiny.model(seed=1), tiny.model(seed=2)
    size = {True: '50KB', False: '1GB'}
    folder, part = tmp_path / 'out', tmp_path / 'part'
    old.save_pretrained(folder, save_original_format=False, max_shard_size=size[shards_before])
    new.save_pretrained(part, save_original_format=False, max_shard_size=size[shards_after])
    (folder / 'mine.safetensors').write_text('another file')
    written, replace = names(part), os.replace
    seen = []

    def watched(source, target):
        seen.append(weights_in(folder, tiny))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', watched)
    move_model(part, folder)
    states = {'old': state_bytes(old), 'new': state_bytes(new)}
    assert weights_in(folder, tiny) == states['new']
    assert all(state in (states['old'], None) for state in seen)
    assert set(written) <= set(names(folder))
    assert (
        len(list(folder.glob('*.safetensors'))) == len([name for name in written if name.endswith('.safetensors')]) + 1
    )
    assert not part.exists()


def weights_in(folder, tiny):
    model = tiny.model(seed=3)
    try:
        load_weights(model, str(folder))
    except FileNotFoundError:
        return None
    return state_bytes(model)
