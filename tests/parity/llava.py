"""LLaVA against outputs of the original code: a folder's weights, laid out as published and read by the public import.

state_dict.safetensors      the original's weights, under its names
vision_tower.safetensors    the tower's, where the original keeps them apart (v1, Shikra, LCL)
io.safetensors              inputs, and what the original made of them
config.json                 sizes and token ids
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
)

from mllm.engine.loss import supervised_loss
from mllm.models.builder import load_model, load_preprocessor, resolve
from mllm.types import Preprocessor
from tests.parity.compare import Result, difference

NAMES = {'im_patch_token': '<im_patch>', 'im_start_token': '<im_start>', 'im_end_token': '<im_end>'}
SHARD = 8
"""Tensors in each of the .bin files."""


def is_ours(sizes: Mapping[str, Any]) -> bool:
    return 'mm_vision_select_layer' in sizes


def check(folder: Path) -> Iterator[Result]:
    """Everything that the folder's io.safetensors holds, and copies of the model in every layout."""
    sizes = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    io = load_file(folder / 'io.safetensors')
    with TemporaryDirectory() as place:
        args = lay_out(folder, sizes, Path(place))
        yield from (old_format(args, sizes, io) if 'im_patch_token' in sizes else spliced_format(args, io))
        yield from copies(args, io, Path(place))


# ---- a folder as published ----


def lay_out(folder: Path, sizes: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Write the checkpoint as its authors publish one: shards, an index, a flat config.json; returns model_args."""
    weights = load_file(folder / 'state_dict.safetensors')
    write_shards(weights, place / 'model')
    marks = 'im_start_token' in sizes
    fields = {
        **sizes['text_config'],
        # As in Shikra's config.json: all of them wrong.
        **{'bos_token_id': 0, 'eos_token_id': 1, 'pad_token_id': -1},
        'model_type': 'llava',
        'mm_hidden_size': sizes['vision_config']['hidden_size'],
        'mm_vision_select_layer': sizes['mm_vision_select_layer'],
        'mm_projector_type': 'mlp2x_gelu' if 'model.mm_projector.2.weight' in weights else 'linear',
        'mm_use_im_start_end': marks,
        'mm_vision_tower': str(place / 'tower'),
    }
    (place / 'model' / 'config.json').write_text(json.dumps(fields), encoding='utf-8')
    write_tower(folder, sizes['vision_config'], place / 'tower')
    tokenizer(sizes).save_pretrained(str(place / 'model'))
    return {'type': 'llava', 'model_name_or_path': str(place / 'model'), 'mm_use_im_start_end': marks}


def write_shards(weights: Mapping[str, Tensor], folder: Path) -> None:
    folder.mkdir(parents=True)
    names = list(weights)
    index = {}
    for start in range(0, len(names), SHARD):
        file = f'pytorch_model-{start // SHARD + 1:05d}.bin'
        chunk = names[start : start + SHARD]
        torch.save({name: weights[name] for name in chunk}, folder / file)
        index |= dict.fromkeys(chunk, file)
    text = json.dumps({'metadata': {}, 'weight_map': index})
    (folder / 'pytorch_model.bin.index.json').write_text(text, encoding='utf-8')


def write_tower(folder: Path, sizes: Mapping[str, Any], place: Path) -> None:
    """The tower's folder: with its weights if they are apart, else with drawn ones that the checkpoint must replace."""
    tower = CLIPVisionModel(CLIPVisionConfig(**sizes))
    tower.save_pretrained(str(place))
    apart = folder / 'vision_tower.safetensors'
    if apart.is_file():
        (place / 'model.safetensors').write_bytes(apart.read_bytes())
    side = sizes['image_size']
    CLIPImageProcessorPil(size={'shortest_edge': side}, crop_size=side).save_pretrained(str(place))


def tokenizer(sizes: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """One word per id, and the special tokens where the folder says they are."""
    text = sizes['text_config']
    words = [f'w{number}' for number in range(text['vocab_size'])]
    special = {'pad_token': text['pad_token_id'], 'bos_token': text['bos_token_id'], 'eos_token': text['eos_token_id']}
    names = {'pad_token': '<unk>', 'bos_token': '<s>', 'eos_token': '</s>'}
    for name, number in special.items():
        words[number] = names[name]
    for name, token in NAMES.items():
        if name in sizes:
            words[sizes[name]] = token
    if 'image_token_index_hf' in sizes:
        words[sizes['image_token_index_hf']] = '<image>'
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token='<unk>'))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token='<unk>', **names)


def load(args: Mapping[str, Any]) -> tuple[Any, Preprocessor]:
    preprocessor = load_preprocessor(args)
    return load_model(args, preprocessor).eval(), preprocessor


# ---- what the original computed ----


@torch.no_grad()
def old_format(args: Mapping[str, Any], sizes: Mapping[str, Any], io: Mapping[str, Tensor]) -> Iterator[Result]:
    """v1, Shikra, LCL: as many <im_patch> as features stand for an image."""
    model, _ = load(args)
    ids, mask = io['single.input_ids'], io['single.attention_mask']
    batch = {'input_ids': ids, 'attention_mask': mask, 'pixel_values': io['single.images']}
    yield (
        'single.projected',
        difference(torch.stack([*model.get_image_features(io['single.images']).pooler_output]), io['single.projected']),
    )
    yield 'single.logits', at_mask(model(**batch).logits, io['single.logits'], mask)
    loss, _ = supervised_loss(model, {**batch, 'labels': io['single.labels']})
    yield 'single.loss', difference(loss, io['single.loss'].squeeze())
    for name, cache in (('single.generated_ids_cache', True), ('single.generated_ids_nocache', False)):
        if name in io:
            prompt = io['single.gen_input_ids']
            yield name, generates(model, prompt, io['single.images'][:1], io[name][:, prompt.shape[1] :], cache)
    if 'multi.input_ids' in io:
        images = io['multi.images'].flatten(0, 1)
        several = {'input_ids': io['multi.input_ids'], 'attention_mask': io['multi.attention_mask']}
        logits = model(**several, pixel_values=images).logits
        yield 'multi.logits_all_images', at_mask(logits, io['multi.logits_all_images'], several['attention_mask'])
        yield from last_only({**args, 'image_splice': 'last_only'}, sizes, io)


def last_only(args: Mapping[str, Any], sizes: Mapping[str, Any], io: Mapping[str, Tensor]) -> Iterator[Result]:
    """What the LCL release computes: images before the last stay <im_patch>."""
    model, preprocessor = load(args)
    ids = torch.stack(
        [last_run_as(row, sizes['im_patch_token'], preprocessor.image_token_id) for row in io['multi.input_ids']]
    )
    mask, images = io['multi.attention_mask'], io['multi.images'][:, -1]
    wanted = io['multi.logits_as_released']
    logits = model(input_ids=ids, attention_mask=mask, pixel_values=images).logits[..., : wanted.shape[-1]]
    yield 'multi.logits_as_released', at_mask(logits, wanted, mask)
    name = 'multi.generated_ids_as_released'
    if name in io:
        length = ids.shape[1]
        row = int((io['multi.input_ids'] == io[name][:, :length]).all(1).nonzero()[0])
        yield name, generates(model, ids[row : row + 1], images[row : row + 1], io[name][:, length:])


def last_run_as(ids: Tensor, patch: int, token: int) -> Tensor:
    """A row whose last unbroken run of `patch` is `token`."""
    found = ids.clone()
    position = int((ids == patch).nonzero()[-1])
    while ids[position] == patch:
        found[position] = token
        position -= 1
    return found


@torch.no_grad()
def spliced_format(args: Mapping[str, Any], io: Mapping[str, Tensor]) -> Iterator[Result]:
    """v1.5: one placeholder an image, which the original replaces by its features; `hf_` ids have them written out."""
    model, _ = load(args)
    ids, mask = io['hf_input_ids'], io['hf_attention_mask']
    batch = {'input_ids': ids, 'attention_mask': mask, 'pixel_values': io['images']}
    yield 'logits', at_mask(model(**batch).logits, io['logits'], mask)
    loss, _ = supervised_loss(model, {**batch, 'labels': io['expanded_labels']})
    yield 'loss', difference(loss, io['loss'].squeeze())
    prompt = io['hf_gen_input_ids']
    # The original returns new ids alone, with a bos in front.
    wanted = io['generated_new_ids'][:, 1:]
    features = int((prompt == model.config.image_token_id).sum()) // tokens_of_one(ids, io, model)
    yield 'generated_new_ids', generates(model, prompt, io['images'][:features], wanted)


def tokens_of_one(ids: Tensor, io: Mapping[str, Tensor], model: Any) -> int:
    return int((ids == model.config.image_token_id).sum()) // len(io['images'])


def generates(model: Any, prompt: Tensor, images: Tensor, wanted: Tensor, cache: bool = True) -> bool:
    found = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        pixel_values=images,
        do_sample=False,
        max_new_tokens=wanted.shape[1],
        use_cache=cache,
        suppress_tokens=None,
    )
    return torch.equal(found[:, prompt.shape[1] :], wanted)


def same_weights(model: Any, other: Any) -> bool:
    first, second = model.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def at_mask(found: Tensor, wanted: Tensor, mask: Tensor) -> float:
    """Where nothing is padded: what stands on padding is undefined."""
    return difference(found[mask.bool()], wanted[mask.bool()])


# ---- copies ----


@torch.no_grad()
def copies(args: Mapping[str, Any], io: Mapping[str, Tensor], place: Path) -> Iterator[Result]:
    """The model in every layout, read again: the same weights, the same logits."""
    model, preprocessor = load(args)
    family, arguments = resolve(args)
    prefix = 'multi.' if 'multi.input_ids' in io else '' if 'hf_input_ids' in io else 'single.'
    images = io[f'{prefix}images']
    batch = {
        'input_ids': io[f'{prefix or "hf_"}input_ids'],
        'attention_mask': io[f'{prefix or "hf_"}attention_mask'],
        'pixel_values': images.flatten(0, 1) if images.ndim == 5 else images,
    }
    logits = model(**batch).logits
    for layout in family.layouts:
        folder = str(place / layout)
        family.export(model, arguments, preprocessor, layout, folder)
        again, _ = load({**args, 'model_name_or_path': folder})
        yield f'{layout}: logits', difference(again(**batch).logits, logits)
        if layout != 'hf':
            yield f'{layout}: weights', same_weights(model, again)
    plain = AutoModelForImageTextToText.from_pretrained(str(place / 'hf')).eval()
    yield 'hf: logits of plain transformers', difference(plain(**batch).logits, logits)
