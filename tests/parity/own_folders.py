"""Folders as `python -m tests.parity` reads them, computed here another way: by hand, over LLaMA and CLIP alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

SIZES = {'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2, 'num_attention_heads': 2}
VISION = {**SIZES, 'image_size': 28, 'patch_size': 14, 'hidden_act': 'quick_gelu'}
IDS = {'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2}
TEXT = {**SIZES, 'vocab_size': 64, 'max_position_embeddings': 128, 'initializer_range': 0.3, **IDS}
PATCH, START, END = 60, 61, 62
FEATURES = 4


class Parts:
    """Tower, projector and language model with drawn weights."""

    def __init__(self, projector: nn.Module) -> None:
        self.tower = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
        self.llm = LlamaForCausalLM(LlamaConfig(**TEXT)).eval()
        self.projector = projector

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """[n, 3, 28, 28] -> [n, 4, 32]: the layer before the last, without its first entry."""
        return self.projector(self.tower(images, output_hidden_states=True).hidden_states[-2][:, 1:])

    @torch.no_grad()
    def logits(self, ids: Tensor, mask: Tensor, places: Tensor, features: Tensor) -> Tensor:
        """Logits of `ids` [B, L] with `features` [n, d] at `places` [B, L], row by row."""
        embeddings = self.llm.get_input_embeddings()(ids)
        embeddings[places] = features
        return self.llm(inputs_embeds=embeddings, attention_mask=mask).logits

    def state_dict(self, tower: bool) -> dict[str, Tensor]:
        weights = dict(self.llm.state_dict())
        weights |= {f'model.mm_projector.{name}': tensor for name, tensor in self.projector.state_dict().items()}
        weights['model.layers.0.self_attn.rotary_emb.inv_freq'] = torch.ones(8)
        if tower:
            prefix = 'model.vision_tower.vision_tower.vision_model.'
            weights |= {prefix + name: tensor for name, tensor in self.tower.state_dict().items()}
        return weights


def prompts() -> tuple[Tensor, Tensor, Tensor]:
    """Two rows with 3 images each, one of them padded on the left: ids, mask, labels of the last four tokens."""
    words = torch.randint(3, 50, (2, 5))
    image = [START, *[PATCH] * FEATURES, END]
    rows = [[1, *row[:1], *image, row[1], *image, row[2], *image, *row[3:]] for row in words.tolist()]
    rows[1] = [0, 0, *rows[1][:-2]]
    ids = torch.tensor(rows)
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    labels = torch.where(torch.arange(ids.shape[1]) >= ids.shape[1] - 2, ids, -100)
    return ids, mask, labels


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).reshape(1)


def last_runs(ids: Tensor) -> Tensor:
    """Where the last image of each row stands."""
    places = ids == PATCH
    for row in places:
        row[row.nonzero()[:-FEATURES, 0]] = False
    return places


def write(folder: Path, parts: Parts, io: dict[str, Tensor], tower: bool, **sizes: Any) -> Path:
    folder.mkdir(parents=True)
    weights = {name: tensor.clone() for name, tensor in parts.state_dict(tower).items()}
    save_file(weights, folder / 'state_dict.safetensors')
    save_file({name: tensor.clone() for name, tensor in io.items()}, folder / 'io.safetensors')
    if not tower:
        apart = {f'vision_model.{name}': tensor.clone() for name, tensor in parts.tower.state_dict().items()}
        save_file(apart, folder / 'vision_tower.safetensors')
    config = {'vision_config': VISION, 'text_config': TEXT, 'mm_vision_select_layer': -2, **sizes}
    (folder / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    return folder


def old_format(folder: Path) -> Path:
    """A folder of v1, Shikra and LCL: its single images are the last ones of its rows of three."""
    torch.manual_seed(0)
    parts = Parts(nn.Linear(32, 32))
    ids, mask, labels = prompts()
    images = torch.randn(2, 3, 3, 28, 28)
    every = parts.logits(ids, mask, ids == PATCH, parts.features(images.flatten(0, 1)).flatten(0, 1))
    last = parts.logits(ids, mask, last_runs(ids), parts.features(images[:, -1]).flatten(0, 1))
    single = torch.where((ids == PATCH) & ~last_runs(ids), 5, ids)
    projected = parts.features(images[:, -1])
    logits = parts.logits(single, mask, single == PATCH, projected.flatten(0, 1))
    io = {
        'single.images': images[:, -1],
        'single.input_ids': single,
        'single.attention_mask': mask,
        'single.labels': labels,
        'single.logits': logits,
        'single.loss': loss(logits, labels),
        'single.projected': projected,
        'multi.images': images,
        'multi.input_ids': ids,
        'multi.attention_mask': mask,
        'multi.logits_all_images': every,
        'multi.logits_as_released': last,
    }
    return write(folder, parts, io, False, im_patch_token=PATCH, im_start_token=START, im_end_token=END)


def spliced_format(folder: Path) -> Path:
    """A folder of v1.5, its tower among the weights."""
    torch.manual_seed(1)
    parts = Parts(nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32)))
    ids, mask, labels = prompts()
    images = torch.randn(6, 3, 28, 28)
    logits = parts.logits(ids, mask, ids == PATCH, parts.features(images).flatten(0, 1))
    prompt = ids[:1]
    row, new = prompt, []
    for _ in range(3):
        step = parts.logits(row, torch.ones_like(row), row == PATCH, parts.features(images[:3]).flatten(0, 1))
        new.append(step[:, -1:].argmax(-1))
        row = torch.cat([row, new[-1]], dim=1)
    io = {
        'hf_input_ids': ids,
        'hf_attention_mask': mask,
        'images': images,
        'expanded_labels': labels,
        'logits': logits,
        'loss': loss(logits, labels),
        'hf_gen_input_ids': prompt,
        'generated_new_ids': torch.cat([torch.ones_like(prompt[:, :1]), *new], dim=1),
    }
    return write(folder, parts, io, True, image_token_index_hf=PATCH)
