"""What the family gives the data path, and what it says of things that cannot be."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.models.builder import load_model, load_preprocessor
from mllm.types import IGNORE_INDEX, Episode, RawItem, Sample, Turn
from tests.models.hf_vlm.conftest import item
from tests.models.hf_vlm.kinds import KINDS, picture


def text_of(preprocessor: Any, sample: Sample) -> str:
    return preprocessor.tokenizer.decode(sample.input_ids)


def test_a_folder_is_all_that_a_model_needs(build: Any, encode: Any, logits: Any, tmp_path: Path):
    """Weights, tokenizer and processor together, as a run saves them."""
    model, preprocessor = build('smolvlm', conv_args={'few_shot': 'one_turn'})
    model.save_pretrained(tmp_path, save_original_format=False)
    preprocessor.tokenizer.save_pretrained(tmp_path)
    preprocessor.save(str(tmp_path))
    arguments = {'type': 'hf_vlm', 'model_name_or_path': str(tmp_path), 'max_tiles': 4}
    loaded = load_preprocessor({**arguments, 'conv_args': {'few_shot': 'one_turn'}})
    sample = encode(loaded, 1, 2)
    assert sample.input_ids == encode(preprocessor, 1, 2).input_ids
    again = load_model(arguments, loaded).eval()
    assert torch.equal(logits(again, loaded, [sample])[0], logits(model, preprocessor, [sample])[0])


@pytest.mark.parametrize('model_type', KINDS)
def test_a_preprocessor_travels_to_workers(model_type: str, preprocessor_of: Any, encode: Any):
    preprocessor = preprocessor_of(model_type)
    copy = pickle.loads(pickle.dumps(preprocessor))
    sample, other = encode(preprocessor, 1, 2), encode(copy, 1, 2)
    assert (sample.input_ids, sample.labels) == (other.input_ids, other.labels)
    assert all(torch.equal(tensor, other.images.tensors[key]) for key, tensor in sample.images.tensors.items())


@pytest.mark.parametrize('model_type', ['qwen2_5_vl', 'gemma3', 'internvl'])
def test_all_shots_in_one_turn(model_type: str, preprocessor_of: Any, encode: Any):
    turns = preprocessor_of(model_type)
    one = preprocessor_of(model_type, conv_args={'few_shot': 'one_turn', 'system': 'Be brief.'})
    samples = [encode(preprocessor, 1, 2, 3) for preprocessor in (turns, one)]
    texts = [text_of(preprocessor, sample) for preprocessor, sample in zip((turns, one), samples, strict=True)]
    assert [text.count('user\n') for text in texts] == [3, 1]
    assert ['Be brief.' in text for text in texts] == [False, True]
    learnt = [[label for label in sample.labels if label != IGNORE_INDEX] for sample in samples]
    assert learnt[0] == learnt[1]
    assert samples[0].image_tokens == samples[1].image_tokens


def test_supports_are_dropped_until_it_fits_and_images_are_encoded_anew(preprocessor_of: Any, encode: Any):
    """LLaVA-OneVision cuts an image into tiles if it is the only one of its prompt."""
    pair, alone = (encode(preprocessor_of('llava_onevision'), *seeds) for seeds in ((None, 7), (7,)))
    assert pair.image_tokens == alone.image_tokens
    fitting = preprocessor_of('llava_onevision', model_max_length=len(pair.input_ids))
    crowded = encode(fitting, 1, 2, None, 7)
    assert crowded.meta['dropped_supports'] == 2
    assert crowded.image_tokens == pair.image_tokens
    assert crowded.images.tensors['pixel_values'].shape == pair.images.tensors['pixel_values'].shape
    with pytest.raises(ValueError, match='query and answer alone have'):
        encode(preprocessor_of('llava_onevision', model_max_length=20), 7)


def test_boxes_are_text(preprocessor_of: Any):
    query = item('at <boxes>', 1)
    query['target'] = {'boxes': [[0, 0, 20, 24]]}
    query['conversations'][-1]['boxes_seq'] = [[0]]
    width, height = picture(1, 40, 48).size
    assert (width, height) == query['image'].size  # type: ignore[union-attr]
    preprocessor = preprocessor_of('qwen3_vl')
    sample = EpisodeEncoder(preprocessor, training=True)(Episode(query), 0)
    assert text_of(preprocessor, sample).endswith('at [0.000,0.000,0.500,0.500]<|im_end|>\n')
    tokens = preprocessor_of('qwen3_vl', target_processor={'boxes': {'type': 'TokenFormatter', 'num_bins': 9}})
    sample = EpisodeEncoder(tokens, training=True)(Episode(query), 0)
    assert len([label for label in sample.labels if label >= len(preprocessor.tokenizer)]) >= 4


@pytest.mark.parametrize(
    ('question', 'answer', 'found'),
    [
        ('<image> <|image_pad|>', 'a', r'<\|image_pad\|>'),
        ('<image>?', 'a<|im_end|>', r'<\|im_end\|>'),
        ('<image>?', '<|vision_start|>', r'<\|vision_start\|>'),
    ],
)
def test_texts_do_not_become_images_or_turns(question: str, answer: str, found: str, preprocessor_of: Any):
    encoder = EpisodeEncoder(preprocessor_of('qwen2_5_vl'), training=True)
    turns = [Turn({'from': 'human', 'value': question}), Turn({'from': 'gpt', 'value': answer})]
    with pytest.raises(ValueError, match=f'contains {found}'):
        encoder(Episode(RawItem(image=picture(1), conversations=turns)), 0)


def test_rows_without_images_have_none(preprocessor_of: Any, encode: Any):
    for model_type, shape in (('idefics3', (3, 10, 3, 16, 16)), ('internvl', (13, 3, 16, 16))):
        preprocessor = preprocessor_of(model_type)
        samples = [encode(preprocessor, *seeds) for seeds in ((4,), (None,), (2, 6))]
        batch = Collator(preprocessor, 'right', training=True)(samples)
        assert batch['pixel_values'].shape[1:] == shape[1:] or model_type == 'idefics3'
        if model_type == 'idefics3':
            assert not batch['pixel_values'][1].any()
            assert not batch['pixel_attention_mask'][1].any()
        texts = Collator(preprocessor, 'right', training=True)([samples[1]])
        assert 'pixel_values' not in texts


def test_what_a_folder_lacks_is_named(folder_of: Any, model_args: Any, tmp_path: Path):
    arguments = model_args('smolvlm')
    bare = tmp_path / 'bare'
    shutil.copytree(folder_of('smolvlm'), bare)
    (bare / 'chat_template.jinja').unlink()
    with pytest.raises(ValueError, match=r'has no chat template; give model_args\.conv_args\.chat_template'):
        load_preprocessor({**arguments, 'processor': str(bare)})
    given = folder_of('smolvlm') / 'chat_template.jinja'
    for template in (str(given), given.read_text()):
        load_preprocessor({**arguments, 'processor': str(bare), 'conv_args': {'chat_template': template}})
    with pytest.raises(FileNotFoundError, match=r"'no_such_file\.jinja'"):
        load_preprocessor({**arguments, 'conv_args': {'chat_template': 'no_such_file.jinja'}})
    (bare / 'preprocessor_config.json').write_text('{"image_processor_type": "Lfm2VlImageProcessor"}')
    with pytest.raises(ValueError, match='exists only for torchvision'):
        load_preprocessor({**arguments, 'processor': str(bare)})
    (bare / 'preprocessor_config.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'model_args\.processor'):
        load_preprocessor({**arguments, 'processor': str(bare)})


def test_a_processor_of_another_model_is_refused(folder_of: Any, build: Any, tmp_path: Path):
    model, _ = build('smolvlm')
    model.config.image_token_id = 7
    model.save_pretrained(tmp_path, save_original_format=False)
    arguments = {'type': 'hf_vlm', 'model_name_or_path': str(tmp_path), 'processor': str(folder_of('smolvlm'))}
    with pytest.raises(ValueError, match='puts images at the token 7'):
        load_model(arguments, load_preprocessor(arguments))


def test_missing_weights_are_named(folder_of: Any, build: Any, tmp_path: Path):
    model, _ = build('smolvlm')
    weights = model.state_dict()
    weights.pop('model.connector.modality_projection.proj.weight')
    model.save_pretrained(tmp_path, state_dict=weights, save_original_format=False)
    arguments = {'type': 'hf_vlm', 'model_name_or_path': str(tmp_path), 'processor': str(folder_of('smolvlm'))}
    with pytest.raises(ValueError, match=r'lacks weights .*connector\.modality_projection\.proj\.weight'):
        load_model(arguments, load_preprocessor(arguments))
