"""Weights of the original, in its names: imported, exported, and refused where they do not fit."""

import re

import pytest
import torch

from mllm.models.flamingo.legacy import from_original, load_original, to_original
from tests.models.flamingo.conftest import logits_of

ROW, SEEDS = ['aibicd'], [[1, 2]]


@pytest.mark.parametrize('layout', ['openflamingo', 'otter'])
def test_export_and_import_are_inverses_bit_by_bit(flamingo, kind: str, layout):
    model = flamingo(kind, max_num_frames=2 if layout == 'otter' else None)
    original = to_original(model, layout)
    again = from_original(original, model.config)
    own, loaded = model.state_dict(), again.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)
    twice = to_original(again, layout)
    assert original.keys() == twice.keys()
    assert all(torch.equal(original[name], twice[name]) for name in original)
    assert torch.equal(logits_of(model, ROW, SEEDS)[0], logits_of(again, ROW, SEEDS)[0])


def test_names_are_those_of_openflamingo(flamingo):
    names = to_original(flamingo('gpt_neox'), 'openflamingo').keys()
    wanted = {
        'vision_encoder.class_embedding',
        'vision_encoder.positional_embedding',
        'vision_encoder.conv1.weight',
        'vision_encoder.ln_pre.weight',
        'vision_encoder.ln_post.bias',
        'vision_encoder.transformer.resblocks.1.attn.in_proj_weight',
        'vision_encoder.transformer.resblocks.1.attn.in_proj_bias',
        'vision_encoder.transformer.resblocks.0.attn.out_proj.weight',
        'vision_encoder.transformer.resblocks.0.mlp.c_fc.bias',
        'perceiver.latents',
        'perceiver.norm.weight',
        'perceiver.layers.1.0.norm_media.bias',
        'perceiver.layers.1.0.to_kv.weight',
        'perceiver.layers.1.1.3.weight',
        'lang_encoder.embed_out.weight',
        'lang_encoder.gpt_neox.embed_in.weight',
        'lang_encoder.gpt_neox.layers.0.decoder_layer.attention.dense.weight',
        'lang_encoder.gpt_neox.layers.3.gated_cross_attn_layer.attn_gate',
        'lang_encoder.gpt_neox.layers.1.gated_cross_attn_layer.attn.to_kv.weight',
        'lang_encoder.gpt_neox.layers.1.gated_cross_attn_layer.ff.1.weight',
    }
    assert wanted <= names
    assert not any('gpt_neox.layers.0.gated' in name or 'gpt_neox.layers.2.gated' in name for name in names)


def test_names_are_those_of_otter(flamingo):
    names = to_original(flamingo('mpt', max_num_frames=3), 'otter').keys()
    wanted = {
        'vision_encoder.vision_model.embeddings.class_embedding',
        'vision_encoder.vision_model.pre_layrnorm.weight',
        'vision_encoder.vision_model.encoder.layers.1.self_attn.k_proj.bias',
        'perceiver.frame_embs',
        'perceiver.layers.1.to_q.weight',
        'perceiver.layers.1.feed_forward.3.weight',
        'lang_encoder.transformer.blocks.3.gated_cross_attn_layer.feed_forward.0.bias',
        'lang_encoder.transformer.blocks.2.decoder_layer.ffn.up_proj.weight',
        'lang_encoder.transformer.wte.weight',
    }
    assert wanted <= names
    assert 'lang_encoder.lm_head.weight' not in names, "Otter's MPT has no head of its own"


def test_aliases_and_buffers_of_the_original_are_known(flamingo):
    model = flamingo()
    state = to_original(model, 'openflamingo')
    layers = re.compile(r'lang_encoder\.model\.layers\.(\d+)\.(decoder_layer|gated_cross_attn_layer)\.')
    lists = {'decoder_layer': 'old_decoder_blocks', 'gated_cross_attn_layer': 'gated_cross_attn_layers'}
    aliases = {
        layers.sub(lambda found: f'lang_encoder.{lists[found[2]]}.{found[1]}.', name): tensor
        for name, tensor in state.items()
        if layers.match(name)
    }
    buffers = {
        'vision_encoder.proj': torch.ones(16, 8),
        'lang_encoder.model.layers.0.decoder_layer.self_attn.rotary_emb.inv_freq': torch.ones(4),
        'lang_encoder.model.layers.0.decoder_layer.attention.masked_bias': torch.ones(()),
    }
    own = model.state_dict()
    only_aliases = {name: tensor for name, tensor in state.items() if not layers.match(name)} | aliases
    for given in ({**state, **aliases, **buffers}, only_aliases):
        loaded = from_original(given, model.config).state_dict()
        assert all(torch.equal(own[name], loaded[name]) for name in own)
    wrong = 'lang_encoder.old_decoder_blocks.2.self_attn.q_proj.weight'
    with pytest.raises(ValueError, match=rf'different values.*{re.escape(wrong)} -> language_model\.model\.layers\.2'):
        from_original({**state, **aliases, wrong: aliases[wrong] + 1}, model.config)


def test_what_is_missing_unexpected_or_of_another_shape_is_named(flamingo):
    model = flamingo()
    state = to_original(model, 'openflamingo')
    del state['perceiver.layers.0.0.to_q.weight']
    state['perceiver.media_time_embs'] = torch.ones(2)
    state['lang_encoder.model.layers.0.gated_cross_attn_layer.attn_gate'] = torch.ones(1)
    state['perceiver.latents'] = torch.ones(5, 16)
    with pytest.raises(ValueError, match='cross_attn_every_n_layers') as error:
        from_original(state, model.config)
    text = str(error.value)
    assert '1 missing: perceiver.layers.0.to_q.weight' in text
    assert (
        '2 unexpected: lang_encoder.model.layers.0.gated_cross_attn_layer.attn_gate, perceiver.media_time_embs' in text
    )
    assert 'perceiver.latents [5, 16] instead of [3, 16]' in text


def test_a_model_that_does_not_fit_is_left_as_it_was(flamingo):
    model, other = flamingo(), flamingo(seed=5)
    state = to_original(other, 'openflamingo')
    state['perceiver.latents'] = torch.ones(5, 16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match='latents'):
        load_original(model, state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize('rows', [29, 35])
def test_embeddings_get_as_many_rows_as_the_checkpoint_has(flamingo, kind: str, rows: int):
    trained = flamingo(kind, seed=5, media_token_id=28)
    trained.resize_token_embeddings(rows, mean_resizing=False)
    parts = ('perceiver.', 'cross_attention.', 'language_model.model.embed', 'language_model.model.decoder.embed_tok')
    parts += ('language_model.gpt_neox.embed_in.', 'language_model.transformer.wte.')
    state = to_original(trained, 'openflamingo', parts)
    model = flamingo(kind, media_token_id=28)
    load_original(model, state, ['vision_tower', 'language_model'])
    embeddings = model.get_input_embeddings().weight
    assert torch.equal(embeddings, trained.get_input_embeddings().weight)
    assert model.get_output_embeddings().weight.shape[0] == rows == model.config.text_config.vocab_size
    assert torch.equal(model.perceiver.latents, trained.perceiver.latents)
    tower = 'embeddings.class_embedding'
    assert torch.equal(model.vision_tower.state_dict()[tower], flamingo(kind).vision_tower.state_dict()[tower])
    head = model.get_output_embeddings().weight
    if head is not embeddings and rows > 32:
        torch.testing.assert_close(head[32:], head[:32].mean(0).expand(rows - 32, -1))


def test_parts_that_are_not_there_already_may_not_be_missing(flamingo):
    model = flamingo()
    state = to_original(model, 'openflamingo', ('perceiver.', 'cross_attention.'))
    load_original(model, state, ['vision_tower', 'language_model'])
    with pytest.raises(ValueError, match=r'missing: language_model\.'):
        load_original(model, state, ['vision_tower'])
    with pytest.raises(ValueError, match=r'missing: cross_attention\.0\.'):
        load_original(
            model, {name: state[name] for name in state if 'perceiver' in name}, ['vision_tower', 'language_model']
        )
