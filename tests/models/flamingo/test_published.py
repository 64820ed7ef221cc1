"""Files and folders as they are published."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText

from mllm.models.flamingo.legacy import from_original, load_original, to_original
from mllm.models.flamingo.modeling import FlamingoForConditionalGeneration
from mllm.models.flamingo.published import (
    published_config,
    read_checkpoint,
    save_openflamingo,
    save_otter,
    text_config,
    vision_config,
)
from mllm.utils.weights import load_weights, save_weights
from tests.models.flamingo.conftest import logits_of

ROW, SEEDS = ['aibicd'], [[1, 2]]


def test_a_file_holds_what_openflamingo_trains(flamingo, kind: str, tmp_path):
    trained = flamingo(kind, seed=5)
    file = tmp_path / 'checkpoint.pt'
    save_openflamingo(trained, file, ['vision_tower', 'language_model'])
    state = read_checkpoint(file)
    assert not any(name.startswith('vision_encoder') or 'decoder_layer' in name for name in state)
    model = flamingo(kind)
    load_original(model, state, ['vision_tower', 'language_model'])
    own, wanted = model.state_dict(), trained.state_dict()
    for name, tensor in own.items():
        learnt = name.startswith(('perceiver.', 'cross_attention.')) or 'embed' in name.rpartition('language_model')[2]
        if learnt and not name.startswith('vision') and 'positions' not in name:
            assert torch.equal(tensor, wanted[name]), name


def test_wrappers_around_a_checkpoint_are_taken_off(flamingo, tmp_path):
    model = flamingo()
    state = {f'module.{name}': tensor.clone() for name, tensor in to_original(model, 'openflamingo').items()}
    torch.save({'model_state_dict': state, 'epoch': 3}, tmp_path / 'checkpoint.pt')
    again = from_original(read_checkpoint(tmp_path / 'checkpoint.pt'), model.config)
    assert torch.equal(logits_of(model, ROW, SEEDS)[0], logits_of(again, ROW, SEEDS)[0])


class Harmful:
    def __reduce__(self):
        return print, ('executed',)


def test_a_pickle_with_more_than_tensors_is_not_executed(tmp_path, capsys):
    torch.save({'perceiver.latents': torch.ones(1), 'more': Harmful()}, tmp_path / 'checkpoint.pt')
    with pytest.raises(ValueError, match=r'checkpoint\.pt cannot be read as weights alone'):
        read_checkpoint(tmp_path / 'checkpoint.pt')
    assert 'executed' not in capsys.readouterr().out


def test_files_that_are_cut_off_or_missing_are_named(tmp_path):
    (tmp_path / 'cut.pt').write_bytes(b'PK\x03\x04 nothing')
    with pytest.raises(ValueError, match=r'cut\.pt'):
        read_checkpoint(tmp_path / 'cut.pt')
    with pytest.raises(FileNotFoundError, match=r'absent\.pt'):
        read_checkpoint(tmp_path / 'absent.pt')
    with pytest.raises(FileNotFoundError, match='has no weights'):
        read_checkpoint(tmp_path)


def test_a_folder_of_otter_is_read_and_written(flamingo, kind: str, tmp_path):
    model = flamingo(kind, max_num_frames=2)
    save_otter(model, tmp_path)
    fields = json.loads((tmp_path / 'config.json').read_text())
    assert fields['model_type'] == 'otter'
    config = published_config(fields)
    for name in ('perceiver_depth', 'num_latents', 'num_heads', 'head_dim', 'media_token_id'):
        setattr(config, name, getattr(model.config, name))
    again = from_original(read_checkpoint(tmp_path), config)
    assert torch.equal(logits_of(model, ROW, SEEDS)[0], logits_of(again, ROW, SEEDS)[0])


def test_shards_and_safetensors_are_read_alike(flamingo, tmp_path):
    state = {name: tensor.clone() for name, tensor in to_original(flamingo(), 'otter').items()}
    parts = [dict(list(state.items())[::2]), dict(list(state.items())[1::2])]
    shards, whole = tmp_path / 'shards', tmp_path / 'whole'
    shards.mkdir()
    whole.mkdir()
    names = {}
    for number, part in enumerate(parts):
        torch.save(part, shards / f'pytorch_model-{number}.bin')
        names |= dict.fromkeys(part, f'pytorch_model-{number}.bin')
    (shards / 'pytorch_model.bin.index.json').write_text(json.dumps({'weight_map': names}))
    save_file(state, whole / 'model.safetensors')
    for folder in (shards, whole):
        found = read_checkpoint(folder)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)


def test_a_config_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"model_type 'llama'\) is of no Otter or Flamingo"):
        published_config({'model_type': 'llama'})


def test_parts_are_not_of_the_precision_they_were_published_in():
    text = text_config({'model_type': 'llama', 'torch_dtype': 'float16'})
    vision = vision_config({'torch_dtype': 'float16'})
    assert text.dtype is vision.dtype is None


def test_a_config_of_mpt_with_fractions_is_understood():
    config = text_config({'model_type': 'mpt', 'd_model': 32, 'hidden_size': 32, 'attn_config': {'attn_pdrop': 0.0}})
    assert config.hidden_size == 32


def test_saved_weights_are_loaded_strictly_and_by_from_pretrained(flamingo, kind: str, tmp_path):
    model = flamingo(kind)
    save_weights(model, str(tmp_path))
    wanted = logits_of(model, ROW, SEEDS)[0]
    loaded = flamingo(kind, seed=8)
    load_weights(loaded, str(tmp_path))
    plain = FlamingoForConditionalGeneration.from_pretrained(tmp_path)
    for again in (loaded, plain, AutoModelForImageTextToText.from_pretrained(tmp_path)):
        assert torch.equal(logits_of(again, ROW, SEEDS)[0], wanted)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (plain.get_output_embeddings().weight is plain.get_input_embeddings().weight) == tied
    # What stock code writes by default is read as well.
    model.save_pretrained(tmp_path / 'stock')
    stock = FlamingoForConditionalGeneration.from_pretrained(tmp_path / 'stock')
    assert torch.equal(logits_of(stock, ROW, SEEDS)[0], wanted)
