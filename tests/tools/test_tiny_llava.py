"""The tiny model's committed assets and the tools that build them."""

from __future__ import annotations

import importlib.util
import json
import string
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from mllm.conversation.templates import CONVERSATION_TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / 'data' / 'tiny_llava'
CHARACTERS = sorted(set(string.printable) - set('\t\r\x0b\x0c'))

FIRST_SUPPORT = (
    'You should find the causal relationship between the examples I am going to show you. '
    'And use that to answer to the [FINAL QUESTION]. USER: [BEGIN EXAMPLE] What is in the image <image>? '
    'ASSISTANT: there is "abcd" in the image. [END EXAMPLE]</s>'
)
SUPPORT = ' USER: [BEGIN EXAMPLE] What is in the image <image>? ASSISTANT: there is "efgh" in the image. [END EXAMPLE]'
QUERY = (
    '<s>[FINAL QUESTION]:  USER: Based on the previous examples, what is in the image <image>? '
    'ASSISTANT: there is "red apple" in the image.</s>'
)


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / 'tiny_llava' / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(ASSETS)


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)['input_ids'])


def test_committed_tokenizer_is_what_the_tool_builds(tmp_path: Path) -> None:
    load_tool('build_tokenizer').build_tokenizer().save_pretrained(tmp_path)
    assert (tmp_path / 'tokenizer.json').read_text() == (ASSETS / 'tokenizer.json').read_text()
    built, kept = AutoTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(ASSETS)
    assert built.get_vocab() == kept.get_vocab()
    assert built.special_tokens_map == kept.special_tokens_map


def test_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    names = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token)
    assert names == ('<s>', '</s>', '<unk>', '<pad>')
    assert {'<image>', '<im_patch>'} <= set(tokenizer.all_special_tokens)
    assert tokenizer('ab')['input_ids'] == tokenizer('ab', add_special_tokens=False)['input_ids']


def test_prompts_of_the_protocol(tokenizer: PreTrainedTokenizerFast) -> None:
    system = CONVERSATION_TEMPLATES['causal_v1.0'].system
    example = [' USER:', ' [BEGIN EXAMPLE]', ' What is in the image ', '<image>', '?', ' ASSISTANT:', ' there is "']
    end = ['" in the image.', ' [END EXAMPLE]']
    assert pieces(tokenizer, FIRST_SUPPORT) == [system, *example, *'abcd', *end, '</s>']
    assert pieces(tokenizer, SUPPORT) == [*example, *'efgh', *end]
    question = ['<s>', '[FINAL QUESTION]:', ' ', ' USER:', ' Based on the previous examples, what is in the image ']
    answer = ['<image>', '?', ' ASSISTANT:', ' there is "', *'red apple', '" in the image.', '</s>']
    assert pieces(tokenizer, QUERY) == [*question, *answer]


def test_the_answer_follows_the_open_prompt_token_by_token(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = QUERY[: QUERY.index(' there is')]
    assert pieces(tokenizer, prompt) == pieces(tokenizer, QUERY)[: len(pieces(tokenizer, prompt))]


def test_system_texts_are_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    for name in ('causal_v1.0', 'vicuna_v1.1'):
        assert len(pieces(tokenizer, CONVERSATION_TEMPLATES[name].system)) == 1


@pytest.mark.parametrize('text', [' there island', ' in the images', ' in the image1', 'a[FINAL QUESTION]: there isle'])
def test_a_phrase_does_not_end_inside_a_word(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    found = pieces(tokenizer, text)
    assert ''.join(found) == text
    assert all(len(piece) == 1 or piece == '[FINAL QUESTION]:' for piece in found)


PHRASES = st.sampled_from(
    [FIRST_SUPPORT, SUPPORT, QUERY, ' there is "', '" in the image.', ' USER:', '<image>', '</s>']
)
TEXTS = st.lists(PHRASES | st.text(CHARACTERS, max_size=12), max_size=6).map(''.join)


@given(text=TEXTS)
def test_ascii_text_round_trips_with_exact_offsets(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert tokenizer.decode(encoding['input_ids']) == text
    found = tokenizer.convert_ids_to_tokens(encoding['input_ids'])
    assert [text[start:stop] for start, stop in encoding['offset_mapping']] == found
    assert tokenizer.unk_token_id not in encoding['input_ids']


def test_other_characters_are_one_unknown_token_each(tokenizer: PreTrainedTokenizerFast) -> None:
    assert pieces(tokenizer, 'caf\u00e9 \u4f60') == ['c', 'a', 'f', '<unk>', ' ', '<unk>']


def test_vision_assets_load_and_are_small() -> None:
    tower = AutoModel.from_pretrained(ASSETS / 'vision').eval()
    head = load_file(ASSETS / 'projector.safetensors')
    processor = AutoImageProcessor.from_pretrained(ASSETS / 'vision')
    size = processor.crop_size['height']
    with torch.no_grad():
        grid = tower(torch.zeros(1, 3, size, size)).last_hidden_state
    assert grid.shape[1] == tower.config.hidden_size == head['norm.weight'].shape[0] == head['proj.weight'].shape[1]
    assert head['mean'].shape == head['std'].shape == head['proj.weight'].shape[:1]
    assert head['std'].min() > 0
    assert sum(path.stat().st_size for path in (*ASSETS.glob('*.safetensors'), *ASSETS.glob('vision/*'))) <= 1.5e6


FAMILIES = ('ink', 'oil', 'wax')


@pytest.fixture(scope='module')
def trainer() -> ModuleType:
    return load_tool('train_encoder')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve train and four validation concepts, bars of different places, drawn by three families; no test file."""
    folder = tmp_path_factory.mktemp('emoji')
    with zipfile.ZipFile(folder / 'images.zip', 'w') as archive:
        for split, count in (('train', 12), ('val', 4)):
            rows = []
            for number in range(count):
                names = [f'{family}/std/{split}{number}.png' for family in FAMILIES]
                for family, name in zip(FAMILIES, names):
                    image = Image.new('RGBA', (48, 48))
                    colour = {'ink': 'black', 'oil': 'red', 'wax': 'blue'}[family]
                    ImageDraw.Draw(image).rectangle((4 * number, 0, 4 * number + 3, 47), fill=colour)
                    with archive.open(name, 'w') as file:
                        image.save(file, 'PNG')
                near = [(number + 1) % count, (number + 2) % count]
                neighbors = [[str(other), str(other), ''] for other in near]
                rows.append({'class_id': str(number), 'class_name': 'x', 'samples': names, 'neighbors': neighbors})
            (folder / f'{split}_pairs.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    return folder


def test_batches_hold_each_concept_by_different_families(trainer: ModuleType, pictures: Path) -> None:
    data = trainer.load_renderings(pictures, 'train')
    assert data.images.shape == (36, 3, 48, 48)
    assert data.neighbours[11] == [0, 1]
    for positions in trainer.draw_batches(data, 5, np.random.default_rng(0)):
        views = positions.reshape(trainer.VIEWS, -1)
        concepts, families = data.concept[views], data.family[views]
        assert (concepts == concepts[0]).all()
        assert len(set(concepts[0])) == len(concepts[0])
        assert all(len(set(column)) == trainer.VIEWS for column in families.T)


def test_transparent_ground_is_white_before_and_after_augmentation(trainer: ModuleType) -> None:
    torch.manual_seed(0)
    white = torch.full((8, 3, 48, 48), 255, dtype=torch.uint8)
    pixels = trainer.augment(white)
    assert pixels.shape == (8, 3, trainer.IMAGE_SIZE, trainer.IMAGE_SIZE)
    lowest = trainer.TINT[0] * trainer.BRIGHTNESS[0] * 2 - 1
    assert pixels.min() >= lowest - 1e-6
    assert pixels.max() <= 1


def test_contrast_loss_is_the_mean_over_positives(trainer: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    concepts = 4
    features = torch.nn.functional.normalize(torch.randn(concepts * trainer.VIEWS, 8, generator=generator), dim=-1)
    terms = []
    for row in range(len(features)):
        others = [other for other in range(len(features)) if other != row]
        weights = {other: float(features[row] @ features[other]) / trainer.TEMPERATURE for other in others}
        total = float(np.log(sum(np.exp(weight) for weight in weights.values())))
        terms += [total - weights[other] for other in others if other % concepts == row % concepts]
    assert float(trainer.contrast_loss(features)) == pytest.approx(np.mean(terms), rel=1e-4)


def test_one_shot_accuracy_of_known_features(trainer: ModuleType, pictures: Path) -> None:
    data = trainer.load_renderings(pictures, 'train')
    of_concepts = torch.eye(12)[torch.from_numpy(data.concept)]
    of_families = torch.eye(3)[torch.tensor([FAMILIES.index(name) for name in data.family])]
    for hard in (False, True):
        assert trainer.one_shot_accuracy(data, of_concepts, hard, count=200) == 1
    # What only tells families apart says the same of both supports at best, and the first has to be strictly nearer.
    assert trainer.one_shot_accuracy(data, of_families, hard=False, count=200) < 0.5


def test_encoder_is_made_from_train_and_val_and_the_same_every_time(
    trainer: ModuleType, pictures: Path, tmp_path: Path
) -> None:
    for name in ('first', 'second'):
        trainer.main(['--data', str(pictures), '--out', str(tmp_path / name), '--steps', '3', '--threads', '1'])
    for file in ('vision/model.safetensors', 'projector.safetensors', 'vision/config.json'):
        assert (tmp_path / 'first' / file).read_bytes() == (tmp_path / 'second' / file).read_bytes()
    data = trainer.load_renderings(pictures, 'train')
    encoder = trainer.Encoder()
    encoder.tower = AutoModel.from_pretrained(tmp_path / 'first' / 'vision')
    head = load_file(tmp_path / 'first' / 'projector.safetensors')
    encoder.norm.load_state_dict({'weight': head['norm.weight'], 'bias': head['norm.bias']})
    encoder.proj.load_state_dict({'weight': head['proj.weight']})
    features = trainer.encode(encoder.eval(), data.images)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(36))
    torch.testing.assert_close((features - head['mean']).div(head['std']).mean(0), torch.zeros(64), atol=1e-3, rtol=0)
