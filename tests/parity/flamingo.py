"""OpenFlamingo and Otter against outputs of the original code: a folder's weights, through the public import.

state_dict.safetensors   the original's weights, under its names
io.safetensors           inputs, and what the original made of them
config.json              sizes
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig

from mllm.models.flamingo.config import FlamingoConfig
from mllm.models.flamingo.legacy import from_original, to_live, to_original
from mllm.models.flamingo.modeling import FlamingoForConditionalGeneration, count_images
from mllm.models.flamingo.published import read_checkpoint, text_config, vision_config
from tests.parity.compare import Result, difference


def is_ours(sizes: Mapping[str, Any]) -> bool:
    return 'cross_attn_every_n_layers' in sizes


def check(folder: Path) -> list[Result]:
    """Everything that the folder's io.safetensors holds."""
    sizes = json.loads((folder / 'config.json').read_text())
    io = load_file(folder / 'io.safetensors')
    model = from_original(read_checkpoint(folder / 'state_dict.safetensors'), describe(sizes))
    otter = 'text_config' in sizes
    compare = Comparison(model, io, sizes)
    tower = folder / 'vision_hf.safetensors'
    return [
        *compare.passes(),
        *(compare.otter() if otter else compare.openflamingo()),
        *copies(model, io, otter),
        *(towers(model, load_file(tower)) if tower.is_file() else ()),
    ]


def describe(sizes: Mapping[str, Any]) -> FlamingoConfig:
    """The config that a folder's sizes mean; Otter's folders have parts as transformers writes them."""
    perceiver = sizes['perceiver']
    if 'text_config' in sizes:
        vision, text = sizes['vision_config'], sizes['text_config']
        normed = False
    else:
        tower, text = sizes['vision'], {'model_type': sizes['lm_kind'], **sizes['lm_config']}
        vision = {
            'hidden_size': tower['width'],
            'num_hidden_layers': tower['layers'],
            'num_attention_heads': tower['heads'],
            'intermediate_size': int(tower['width'] * tower['mlp_ratio']),
            'image_size': tower['image_size'],
            'patch_size': tower['patch_size'],
            'hidden_act': tower['act'],
        }
        normed = tower['ln_post_on_tokens']
    return FlamingoConfig(
        vision_config=vision_config(vision),
        text_config=text_config({'model_type': sizes['lm_kind'], **text}),
        cross_attn_every_n_layers=sizes['cross_attn_every_n_layers'],
        media_token_id=sizes['media_token_id'],
        vision_post_layernorm=normed,
        max_num_frames=sizes.get('max_num_frames'),
        perceiver_depth=perceiver['depth'],
        num_latents=perceiver['num_latents'],
        num_heads=perceiver['heads'],
        head_dim=perceiver['dim_head'],
        ff_mult=perceiver['ff_mult'],
    )


class Comparison:
    """A model and what the original made of the same inputs."""

    def __init__(self, model: FlamingoForConditionalGeneration, io: Mapping[str, Tensor], sizes: Mapping[str, Any]):
        self.model, self.io = model, io
        self.eoc, self.pad = sizes['eoc_token_id'], sizes['pad_token_id']

    @torch.no_grad()
    def passes(self) -> Iterator[Result]:
        """Single passes through the parts and the whole."""
        model, io = self.model, self.io
        pixels, mask = io['vision_x'], io['attention_mask'].bool()
        yield 'vision_tokens', difference(model.vision_features(pixels.flatten(0, 2)), io['vision_tokens'])
        yield 'perceiver_out', difference(model.encode_images(pixels), io['perceiver_out'])
        logits = model(io['input_ids'], io['attention_mask'], **self.images(io['input_ids'], pixels)).logits
        yield 'logits', difference(logits[mask], io['logits'][mask])
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), io['labels'][:, 1:].flatten())
        yield 'loss', difference(loss, io['loss'].squeeze())
        if 'logits_row0_alone' in io:
            first = self.images(io['input_ids'][:1], pixels[:1])
            alone = model(io['input_ids'][:1], io['attention_mask'][:1], **first).logits
            yield 'logits_row0_alone', difference(alone[mask[:1]], io['logits_row0_alone'][mask[:1]])
        if 'cached_cont_logits' in io:
            yield 'cached_cont_logits', self.continuation()
        if 'logits_Timg1_two_image_tokens' in io:
            # The original computes something for an <image> without an image; here it is an error, if not asked for.
            yield 'logits_Timg1_two_image_tokens: refused', self.refuses(pixels[:, :1])
            few = model(io['input_ids'], io['attention_mask'], **self.images(io['input_ids'], pixels[:, :1])).logits
            yield 'logits_Timg1_two_image_tokens', difference(few[mask], io['logits_Timg1_two_image_tokens'][mask])

    def continuation(self) -> float:
        """Tokens after a cached prompt."""
        model, io = self.model, self.io
        mask = torch.cat([io['attention_mask'], torch.ones_like(io['cached_cont_ids'])], dim=1)
        images = self.images(io['input_ids'], io['vision_x'])
        first = model(io['input_ids'], io['attention_mask'], **images, use_cache=True)
        second = model(io['cached_cont_ids'], mask, past_key_values=first.past_key_values)
        logits = torch.cat([first.logits, second.logits], dim=1)
        return difference(logits[mask.bool()], io['cached_cont_logits'][mask.bool()])

    def images(self, ids: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """Pixels; where their number is not that of the <image> tokens, already encoded, which is not checked."""
        try:
            count_images(ids, pixels, None, self.model.config.media_token_id)
        except ValueError:
            counts = torch.full((len(pixels),), pixels.shape[1])
            return {'media': self.model.encode_images(pixels), 'media_counts': counts}
        return {'pixel_values': pixels}

    def refuses(self, pixels: Tensor) -> bool:
        try:
            self.model(self.io['input_ids'], self.io['attention_mask'], pixel_values=pixels)
        except ValueError:
            return True
        return False

    def openflamingo(self) -> Iterator[Result]:
        """Generated ids; the options are in the names, their length in the shapes."""
        for name, wanted in self.io.items():
            if name.startswith('generated_ids'):
                options = {'use_cache': 'nocache' not in name, 'num_beams': 3 if 'beam3' in name else 1}
                eos = None if 'no_eos' in name else self.eoc
                yield name, self.generates('input_ids', 'attention_mask', wanted, eos, **options)

    def otter(self) -> Iterator[Result]:
        """The original with its cache, which loses the images, and without; ours with a cache is as the latter."""
        inputs = 'gen_input_ids', 'gen_attention_mask'
        for name, wanted, legacy, cache in (
            ('generated_ids_cache', 'cache', True, True),
            ('generated_ids_nocache', 'nocache', False, False),
            ('generated_ids_nocache, with a cache that keeps the images', 'nocache', False, True),
        ):
            self.model.config.legacy_cache = legacy
            yield name, self.generates(*inputs, self.io[f'generated_ids_{wanted}'], self.eoc, use_cache=cache)
        self.model.config.legacy_cache = False

    def generates(self, ids: str, mask: str, wanted: Tensor, eos: int | None, **options: Any) -> bool:
        new = wanted.shape[1] - self.io[ids].shape[1]
        config = GenerationConfig(
            do_sample=False, max_new_tokens=new, eos_token_id=eos, pad_token_id=self.pad, **options
        )
        # What a config leaves out, transformers takes from the model's own.
        self.model.generation_config = GenerationConfig()
        found = self.model.generate(
            input_ids=self.io[ids],
            attention_mask=self.io[mask],
            generation_config=config,
            **self.images(self.io[ids], self.io['vision_x']),
        )
        return torch.equal(found, wanted)


def towers(model: FlamingoForConditionalGeneration, other: Mapping[str, Tensor]) -> Iterator[Result]:
    """The same tower under the names of transformers 4."""
    own = model.vision_tower.state_dict()
    found = to_live({f'vision_encoder.{name}': tensor for name, tensor in other.items()}, model)
    same = [torch.equal(tensor, own[name.removeprefix('vision_tower.')]) for name, tensor in found.items()]
    yield "the tower by transformers' names", all(same) and len(same) == len(own)


@torch.no_grad()
def copies(model: FlamingoForConditionalGeneration, io: Mapping[str, Tensor], otter: bool) -> Iterator[Result]:
    """The model exported and imported again, and saved and loaded."""
    again = from_original(to_original(model, 'otter' if otter else 'openflamingo'), model.config)
    states = model.state_dict(), again.state_dict()
    yield 'export and import', all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = FlamingoForConditionalGeneration.from_pretrained(folder)
    counts = torch.full((len(io['vision_x']),), io['vision_x'].shape[1])
    logits = [
        one(io['input_ids'], io['attention_mask'], media=one.encode_images(io['vision_x']), media_counts=counts).logits
        for one in (model, loaded)
    ]
    yield 'save_pretrained and from_pretrained', difference(*logits)
