"""Published checkpoints in the old layout: read as they are, refused where they are not what they say."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor, set_seed

from mllm.models.builder import load_model, load_preprocessor, resolve
from mllm.models.llava.legacy import live_names
from tests.models.conftest import CLIP, LLAMA, picture
from tests.parity.llava import tokenizer


def export(model: Any, preprocessor: Any, args: dict[str, Any], layout: str, folder: Path) -> Path:
    family, arguments = resolve(args)
    family.export(model, arguments, preprocessor, layout, str(folder))
    return folder


def load(args: dict[str, Any]) -> tuple[Any, Any]:
    preprocessor = load_preprocessor(args)
    return load_model(args, preprocessor).eval(), preprocessor


def same(model: Any, other: Any) -> bool:
    first, second = model.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, **fields}))


@pytest.fixture
def tower(build, tmp_path: Path) -> str:
    """A tower in a folder of its own, with its image processor."""
    model, preprocessor = build()
    model.model.vision_tower.save_pretrained(str(tmp_path / 'tower'))
    preprocessor.encode_images.processor.save_pretrained(str(tmp_path / 'tower'))
    return str(tmp_path / 'tower')


@pytest.fixture
def published(model_args, tmp_path: Path, tower: str):
    """(changes of model_args) -> the model, its preprocessor, and its folder in the old layout without a tower."""

    def make(**changes: Any) -> tuple[Any, Any, Path]:
        args = model_args(vision_tower=tower, mm_use_im_start_end=True, **changes)
        set_seed(3)
        model, preprocessor = load(args)
        return model, preprocessor, export(model, preprocessor, args, 'original', tmp_path / 'published')

    return make


def old_args(folder: Path, **changes: Any) -> dict[str, Any]:
    return {'type': 'llava', 'model_name_or_path': str(folder), 'mm_use_im_start_end': True, **changes}


@pytest.mark.parametrize('projector', ['linear', 'mlp2x_gelu'])
def test_out_and_in_again_are_the_same_bits(published, encode, logits, projector: str):
    model, preprocessor, folder = published(projector=projector)
    names = torch.load(folder / 'pytorch_model-00001-of-00001.bin', weights_only=True)
    assert not any('vision_tower' in name for name in names)
    assert 'model.mm_projector.0.weight' in names or projector == 'linear'
    again, other = load(old_args(folder))
    assert same(model, again)
    sample = encode(preprocessor, 1, 2)
    assert encode(other, 1, 2).input_ids == sample.input_ids
    assert torch.equal(*(one[0] for one in (logits(model, preprocessor, [sample]), logits(again, other, [sample]))))
    second = export(again, other, old_args(folder), 'original', folder.parent / 'again')
    weights = [torch.load(place / 'pytorch_model-00001-of-00001.bin', weights_only=True) for place in (folder, second)]
    assert weights[0].keys() == {name for name in weights[1] if 'vision_tower' not in name}
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_an_embedded_tower_wins_over_the_one_that_is_named(published, build, model_args, tmp_path: Path, tower: str):
    model, preprocessor = build(mm_use_im_start_end=True, seed=8)
    folder = export(model, preprocessor, model_args(mm_use_im_start_end=True), 'original', tmp_path / 'whole')
    again, _ = load(old_args(folder, vision_tower=tower))
    assert same(model, again)


def test_wrong_ids_in_the_config_are_repaired_with_a_notice(published, caplog: pytest.LogCaptureFixture, monkeypatch):
    monkeypatch.setattr(logging.getLogger('mllm'), 'propagate', True)
    model, _, folder = published()
    change_config(folder, bos_token_id=7, eos_token_id=8, pad_token_id=-1)
    again, other = load(old_args(folder))
    assert 'config.json says pad_token_id -1, bos_token_id 7, eos_token_id 8' in caplog.text
    tokenizer = other.tokenizer
    assert again.config.text_config.eos_token_id == tokenizer.eos_token_id
    assert again.generation_config.pad_token_id == tokenizer.pad_token_id
    assert same(model, again)


def test_buffers_of_old_versions_are_left_out(published):
    model, _, folder = published()
    path = folder / 'pytorch_model-00001-of-00001.bin'
    weights = torch.load(path, weights_only=True)
    extra = {'model.layers.0.self_attn.rotary_emb.inv_freq': torch.ones(4)}
    torch.save({**weights, **extra}, path)
    assert same(model, load(old_args(folder))[0])


def test_safetensors_are_read_too(published):
    model, _, folder = published()
    path = folder / 'pytorch_model-00001-of-00001.bin'
    save_file(torch.load(path, weights_only=True), folder / 'model.safetensors')
    path.unlink()
    assert same(model, load(old_args(folder))[0])


def test_without_its_image_token_the_vocabulary_of_v1_5_stays_as_published(model_args, tmp_path: Path, tower: str):
    """LLaVA-1.5 has no token for an image; one row is added here and left out again."""
    ids = {'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2}
    tokenizer({'text_config': {'vocab_size': 90, **ids}}).save_pretrained(str(tmp_path / 'words'))
    args = model_args(tokenizer=str(tmp_path / 'words'), vision_tower=tower, llm={**LLAMA, 'vocab_size': 90})
    model, preprocessor = load(args)
    assert len(model.get_input_embeddings().weight) == 91
    old = export(model, preprocessor, args, 'original', tmp_path / 'old')
    change_config(old, vocab_size=90)
    path = old / 'pytorch_model-00001-of-00001.bin'
    words = ('lm_head.weight', 'model.embed_tokens.weight')
    weights = {
        name: tensor[:90].clone() if name in words else tensor
        for name, tensor in torch.load(path, weights_only=True).items()
    }
    torch.save(weights, path)
    again, other = load(old_args(old, mm_use_im_start_end=False))
    assert len(again.get_input_embeddings().weight) == len(other.tokenizer) == 91
    second = export(again, other, old_args(old, mm_use_im_start_end=False), 'original', tmp_path / 'again')
    found = torch.load(second / 'pytorch_model-00001-of-00001.bin', weights_only=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    assert json.loads((second / 'config.json').read_text())['vocab_size'] == 90


@pytest.mark.parametrize('projector', ['linear', 'mlp2x_gelu'])
@pytest.mark.parametrize('marks', [False, True])
def test_plain_transformers_loads_the_export(build, model_args, logits, encode, tmp_path: Path, projector, marks):
    options = {'projector': projector, 'mm_use_im_start_end': marks}
    model, preprocessor = build(**options)
    folder = export(model, preprocessor, model_args(**options), 'hf', tmp_path / 'hf')
    plain, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    sample = encode(preprocessor, 1, 2)
    found, expected = (logits(one.eval(), preprocessor, [sample])[0] for one in (plain, model))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    # Its processor writes what ours does, images included.
    processor = LlavaProcessor.from_pretrained(folder)
    turns = [
        {'role': 'user', 'content': [{'type': 'text', 'text': 'What is in '}, {'type': 'image'}]},
        {'role': 'assistant', 'content': 'a cat'},
    ]
    text = processor.apply_chat_template(turns)
    batch = processor(text=text, images=[picture(1)], return_tensors='pt', add_special_tokens=False)
    pixels, (run,) = preprocessor.encode_images([picture(1)])
    ids = batch['input_ids'][0].tolist()
    assert torch.equal(batch['pixel_values'], pixels)
    start = ids.index(run[0])
    assert ids[start : start + len(run)] == run
    if marks:
        # Blanks beside them are the tokenizer's to swallow.
        return
    template = preprocessor.episode_template.single.template
    turns = [{'from': 'human', 'value': 'What is in <image>'}, {'from': 'gpt', 'value': 'a cat'}]
    parts = ''.join(chunk.text for chunk in template.render(turns, True)).split('<image>')
    before, after = preprocessor.tokenizer(parts, add_special_tokens=False)['input_ids']
    assert ids == [preprocessor.tokenizer.bos_token_id, *before, *run, *after]


def test_what_a_layout_cannot_hold_is_an_error(build, model_args, tmp_path: Path):
    model, preprocessor = build('resnet_lfm2')
    with pytest.raises(ValueError, match=r"'hf' cannot hold a 'pool' projector.* nor a vision tower of type resnet"):
        export(model, preprocessor, model_args('resnet_lfm2'), 'hf', tmp_path / 'hf')
    with pytest.raises(ValueError, match=r"'original' cannot hold .* language model of type lfm2"):
        export(model, preprocessor, model_args('resnet_lfm2'), 'original', tmp_path / 'old')


def test_a_q_former_is_refused(published):
    *_, folder = published()
    with pytest.raises(ValueError, match='Q-Former'):
        live_names({'model.qformer.bert.weight': torch.zeros(1)})
    change_config(folder, qformer_config={'path': 'blip2'})
    with pytest.raises(ValueError, match='Q-Former between tower and language model'):
        load(old_args(folder))


def test_faults_name_tensors_and_shapes(published):
    *_, folder = published()
    path = folder / 'pytorch_model-00001-of-00001.bin'
    weights = torch.load(path, weights_only=True)
    weights['model.norm.weight'] = torch.ones(7)
    weights['model.extra'] = torch.ones(1)
    weights.pop('model.mm_projector.bias')
    torch.save(weights, path)
    with pytest.raises(ValueError, match='does not hold the weights') as error:
        load(old_args(folder))
    text = str(error.value)
    assert 'missing: model.multi_modal_projector.bias' in text
    assert 'unexpected: model.language_model.extra' in text
    assert 'model.language_model.norm.weight [7] instead of [32]' in text


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'mm_projector_type': 'mlp3x_gelu'}, "mm_projector_type='mlp3x_gelu'; there are linear, mlp2x_gelu"),
        ({'mm_hidden_size': 1024}, 'mm_hidden_size=1024, but the vision tower has 32'),
        ({'mm_use_im_start_end': False}, 'trained with False'),
        ({'mm_vision_tower': None}, 'vision_tower is needed'),
        ({'mm_vision_tower': '/cluster/clip'}, r"vision_tower='/cluster/clip' cannot be loaded"),
    ],
)
def test_configs_that_do_not_fit(published, fields: dict[str, Any], message: str):
    *_, folder = published()
    change_config(folder, **fields)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(old_args(folder))


def test_a_pickle_that_could_run_code_is_not_read(published):
    *_, folder = published()
    torch.save({'model.norm.weight': Path('/')}, folder / 'pytorch_model-00001-of-00001.bin')
    with pytest.raises(ValueError, match=r'cannot be read as weights alone'):
        load(old_args(folder))


def test_a_missing_shard_is_named(published):
    *_, folder = published()
    (folder / 'pytorch_model-00001-of-00001.bin').unlink()
    with pytest.raises(FileNotFoundError, match=r'lacks pytorch_model-00001-of-00001\.bin'):
        load(old_args(folder))


def test_a_projector_file_of_the_original_is_read(build, tmp_path: Path):
    wanted = {'weight': torch.randn(32, 32), 'bias': torch.randn(32)}
    torch.save({f'model.mm_projector.{name}': tensor for name, tensor in wanted.items()}, tmp_path / 'mm_projector.bin')
    model, _ = build(pretrain_mm_mlp_adapter=str(tmp_path / 'mm_projector.bin'))
    assert torch.equal(model.model.multi_modal_projector.weight, wanted['weight'])


def test_the_tower_needs_weights_from_somewhere(published):
    *_, folder = published()
    with pytest.raises(ValueError, match='holds no vision tower, and a dict has no weights'):
        load(old_args(folder, vision_tower=CLIP, image_size=32))
