"""Folders of OpenFlamingo and Otter, computed here another way: token by token, image by image, over plain LLaMA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

SIZES = {'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 4, 'num_attention_heads': 2}
VISION = {**SIZES, 'num_hidden_layers': 2, 'image_size': 28, 'patch_size': 14, 'hidden_act': 'quick_gelu'}
IDS = {'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2}
TEXT = {'model_type': 'llama', **SIZES, 'vocab_size': 64, 'initializer_range': 0.3, **IDS}
END, IMAGE, ANSWER, PAD, STEP = 60, 61, 62, 0, 2
HEADS, HEAD, LATENTS, DEPTH, MULT, WIDTH = 2, 8, 3, 2, 2, 32
PERCEIVER = {'dim': WIDTH, 'depth': DEPTH, 'dim_head': HEAD, 'heads': HEADS, 'num_latents': LATENTS, 'ff_mult': MULT}


def norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, (WIDTH,), weights[f'{name}.weight'], weights[f'{name}.bias'])


def attention(weights: dict[str, Tensor], name: str, query: Tensor, context: Tensor, evenly: bool = False) -> Tensor:
    """Of [n, W] over [s, W], head by head; `evenly` to all of it."""
    q = query @ weights[f'{name}.to_q.weight'].T
    k, v = (context @ weights[f'{name}.to_kv.weight'].T).chunk(2, dim=1)
    heads = []
    for head in range(HEADS):
        part = slice(head * HEAD, (head + 1) * HEAD)
        chances = (q[:, part] @ k[:, part].T * (0 if evenly else HEAD**-0.5)).softmax(1)
        heads.append(chances @ v[:, part])
    return torch.cat(heads, dim=1) @ weights[f'{name}.to_out.weight'].T


def feed_forward(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    inner = functional.gelu(norm(weights, f'{name}.0', x) @ weights[f'{name}.1.weight'].T)
    return inner @ weights[f'{name}.3.weight'].T


class Original:
    """Weights under the names of one of the two projects, and what they give."""

    def __init__(self, otter: bool, frames: int | None) -> None:
        torch.manual_seed(0)
        self.otter, self.legacy = otter, False
        self.tower = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
        self.llm = LlamaForCausalLM(LlamaConfig(**TEXT)).eval()
        self.flat = 'feed_forward' if otter else 'ff'
        self.weights = {'perceiver.latents': torch.randn(LATENTS, WIDTH)}
        if frames:
            self.weights['perceiver.frame_embs'] = torch.randn(frames, WIDTH)
        self.draw_norm('perceiver.norm')
        for layer in range(DEPTH):
            attn, ff = self.perceiver_names(layer)
            self.draw_attention(attn, ['norm_media', 'norm_latents'])
            self.draw_feed_forward(ff)
        for layer in self.conditioned:
            self.draw_attention(f'{self.block(layer)}.attn', ['norm'])
            self.draw_feed_forward(f'{self.block(layer)}.{self.flat}')
            self.weights |= {f'{self.block(layer)}.{gate}': torch.rand(1) + 0.3 for gate in ('attn_gate', 'ff_gate')}

    @property
    def conditioned(self) -> list[int]:
        return [layer for layer in range(SIZES['num_hidden_layers']) if (layer + 1) % STEP == 0]

    def block(self, layer: int) -> str:
        return f'lang_encoder.model.layers.{layer}.gated_cross_attn_layer'

    def perceiver_names(self, layer: int) -> tuple[str, str]:
        name = f'perceiver.layers.{layer}'
        return (name, f'{name}.feed_forward') if self.otter else (f'{name}.0', f'{name}.1')

    def draw_norm(self, name: str) -> None:
        self.weights |= {f'{name}.weight': torch.rand(WIDTH) + 0.5, f'{name}.bias': torch.randn(WIDTH)}

    def draw_attention(self, name: str, norms: list[str]) -> None:
        for one in norms:
            self.draw_norm(f'{name}.{one}')
        shapes = {'to_q': (HEADS * HEAD, WIDTH), 'to_kv': (2 * HEADS * HEAD, WIDTH), 'to_out': (WIDTH, HEADS * HEAD)}
        self.weights |= {f'{name}.{key}.weight': torch.randn(shape) * 0.3 for key, shape in shapes.items()}

    def draw_feed_forward(self, name: str) -> None:
        self.draw_norm(f'{name}.0')
        self.weights |= {f'{name}.1.weight': torch.randn(MULT * WIDTH, WIDTH) * 0.2}
        self.weights |= {f'{name}.3.weight': torch.randn(WIDTH, MULT * WIDTH) * 0.2}

    def tokens(self, frames: Tensor) -> Tensor:
        """[n, 3, H, W] -> [n, V, W]."""
        return self.tower(frames).last_hidden_state[:, 1:]

    def resample(self, frames: Tensor) -> Tensor:
        """One image or video, [F, 3, H, W] -> [N, W]."""
        weights = self.weights
        tokens = self.tokens(frames)
        if 'perceiver.frame_embs' in weights:
            tokens = tokens + weights['perceiver.frame_embs'][: len(frames), None]
        tokens, latents = tokens.flatten(0, 1), weights['perceiver.latents']
        for layer in range(DEPTH):
            attn, ff = self.perceiver_names(layer)
            normed = norm(weights, f'{attn}.norm_latents', latents)
            context = torch.cat([norm(weights, f'{attn}.norm_media', tokens), normed])
            latents = latents + attention(weights, attn, normed, context)
            latents = latents + feed_forward(weights, ff, latents)
        return norm(weights, 'perceiver.norm', latents)

    @torch.no_grad()
    def logits(self, ids: list[int], images: Tensor, blind_after: int | None = None) -> Tensor:
        """One row without padding, with images [T, F, 3, H, W] -> [L, V]; later tokens than `blind_after` see none."""
        media = [self.resample(image) for image in images]
        model = self.llm.model
        x = model.embed_tokens(torch.tensor([ids]))
        positions = torch.arange(len(ids))[None]
        rotary = model.rotary_emb(x, positions)
        mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)[None, None]
        for number, layer in enumerate(model.layers):
            if number in self.conditioned:
                x = self.condition(self.block(number), x[0], ids, media, blind_after)[None]
            out: Any = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=rotary)
            x = out[0] if isinstance(out, tuple) else out
        return self.llm.lm_head(model.norm(x))[0]

    def all_logits(self, rows: tuple[list[int], ...], pixels: Tensor) -> Tensor:
        """Of each row, with zeros at the padding on its left, [B, L, V]."""
        found = [self.logits(row, images) for row, images in zip(rows, pixels, strict=True)]
        width = max(map(len, rows))
        return torch.stack([functional.pad(one, (0, 0, width - len(one), 0)) for one in found])

    def condition(self, name: str, x: Tensor, ids: list[int], media: list[Tensor], blind_after: int | None) -> Tensor:
        weights, seen, added = self.weights, 0, []
        for place, (token, text) in enumerate(zip(ids, x, strict=True)):
            seen += token == IMAGE
            blind = seen == 0 or (blind_after is not None and place >= blind_after)
            query = norm(weights, f'{name}.attn.norm', text[None])
            # The original masks every image for a token beyond the last one, which leaves all of them alike.
            beyond = seen > len(media)
            looks = torch.cat(media) if beyond else media[seen - 1]
            found = attention(weights, f'{name}.attn', query, looks, evenly=beyond)[0]
            added.append(torch.zeros(WIDTH) if blind else found)
        x = x + weights[f'{name}.attn_gate'].tanh() * torch.stack(added)
        return x + weights[f'{name}.ff_gate'].tanh() * feed_forward(weights, f'{name}.{self.flat}', x)

    def greedy(self, ids: list[int], images: Tensor, steps: int, blind: bool) -> list[int]:
        found = list(ids)
        for _ in range(steps):
            row = self.logits(found, images, len(ids) if blind else None)[-1]
            found.append(int(row.argmax()))
            assert found[-1] not in (IMAGE, END), 'draw other weights: the folder is not meant to hold this'
        return found

    def state_dict(self) -> dict[str, Tensor]:
        state = dict(self.weights)
        for name, tensor in self.llm.state_dict().items():
            name = name.replace('.self_attn', '.decoder_layer.self_attn').replace('.mlp', '.decoder_layer.mlp')
            name = name.replace('.input_layernorm', '.decoder_layer.input_layernorm')
            name = name.replace('.post_attention_layernorm', '.decoder_layer.post_attention_layernorm')
            state[f'lang_encoder.{name}'] = tensor
        state['lang_encoder.model.layers.0.decoder_layer.self_attn.rotary_emb.inv_freq'] = torch.ones(8)
        tower = self.tower.state_dict()
        if self.otter:
            state |= {f'vision_encoder.vision_model.{name}': tensor for name, tensor in tower.items()}
        else:
            state |= {f'vision_encoder.{name}': tensor for name, tensor in open_clip_names(tower).items()}
        return state


def open_clip_names(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    replaced = {
        'pre_layrnorm': 'ln_pre',
        'post_layernorm': 'ln_post',
        'embeddings.class_embedding': 'class_embedding',
        'embeddings.patch_embedding': 'conv1',
        'embeddings.position_embedding.weight': 'positional_embedding',
        'encoder.layers': 'transformer.resblocks',
        'layer_norm': 'ln_',
        'self_attn': 'attn',
        'fc1': 'c_fc',
        'fc2': 'c_proj',
    }
    named: dict[str, Tensor] = {'proj': torch.ones(WIDTH, 16)}
    for name, tensor in tower.items():
        for new, old in replaced.items():
            name = name.replace(new, old)
        if '.attn.q_proj' in name:
            layer, kind = name.split('.attn.q_proj.')
            original = layer.replace('transformer.resblocks', 'encoder.layers')
            parts = [tower[f'{original}.self_attn.{one}_proj.{kind}'] for one in 'qkv']
            named[f'{layer}.attn.in_proj_{kind}'] = torch.cat(parts)
        elif '.attn.k_proj' not in name and '.attn.v_proj' not in name:
            named[name] = tensor
    return named


ROWS = ([1, 5, IMAGE, 7, 8, END, IMAGE, 9, 10, 11], [1, IMAGE, 12, END, IMAGE, 13, 14])
"""Two images each; the second is padded, on the left for OpenFlamingo."""


def padded(rows: tuple[list[int], ...], fill: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*[fill] * (width - len(row)), *row] for row in rows])


def write(folder: Path, original: Original, frames: int, **sizes: Any) -> Path:
    """What a folder of the kind holds, for `ROWS`."""
    pixels = torch.randn(2, 2, frames, 3, 28, 28)
    ids, mask = padded(ROWS, PAD), padded(tuple([1] * len(row) for row in ROWS), 0)
    logits = original.all_logits(ROWS, pixels)
    # Nothing that is computed at padding means anything, so the first token is not learnt.
    labels = torch.where((mask == 1) & (ids != IMAGE) & (ids != 1), ids, -100)
    steps = {blind: [] for blind in (False, True)}
    for blind, found in steps.items():
        found += [original.greedy(row, images, 3, blind) for row, images in zip(ROWS, pixels, strict=True)]
    io = {
        'vision_x': pixels,
        'input_ids': ids,
        'attention_mask': mask,
        'labels': labels,
        'logits': logits,
        'loss': functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).reshape(1),
        'logits_row0_alone': original.logits(ROWS[0], pixels[0])[None],
        'vision_tokens': original.tokens(pixels.flatten(0, 2)),
        'perceiver_out': torch.stack([torch.stack([original.resample(image) for image in row]) for row in pixels]),
    }
    seeing, blind = padded(tuple(steps[False]), PAD), padded(tuple(steps[True]), PAD)
    if original.otter:
        io |= {'gen_input_ids': ids, 'gen_attention_mask': mask}
        io['logits_Timg1_two_image_tokens'] = original.all_logits(ROWS, pixels[:, :1])
        io |= {'generated_ids_cache': blind, 'generated_ids_nocache': seeing}
    else:
        io |= {'generated_ids': seeing, 'generated_ids_nocache': seeing, 'generated_ids_no_eos': seeing}
        io |= {'cached_cont_ids': seeing[:, ids.shape[1] :]}
        io['cached_cont_logits'] = original.all_logits(tuple(steps[False]), pixels)
    folder.mkdir(parents=True)
    tensors = (original.state_dict(), io)
    for name, state in zip(('state_dict', 'io'), tensors, strict=True):
        save_file(
            {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}, folder / f'{name}.safetensors'
        )
    common = {'cross_attn_every_n_layers': STEP, 'media_token_id': IMAGE, 'eoc_token_id': END, 'pad_token_id': PAD}
    (folder / 'config.json').write_text(json.dumps({**common, 'lm_kind': 'llama', 'perceiver': PERCEIVER, **sizes}))
    return folder


def openflamingo_format(folder: Path) -> Path:
    tower = {
        'image_size': 28,
        'patch_size': 14,
        'width': WIDTH,
        'layers': VISION['num_hidden_layers'],
        'heads': VISION['num_attention_heads'],
        'mlp_ratio': 1.5,
        'act': 'quick_gelu',
        'ln_post_on_tokens': False,
    }
    return write(folder, Original(otter=False, frames=None), 1, vision=tower, lm_config=TEXT)


def otter_format(folder: Path) -> Path:
    sizes = {'vision_config': VISION, 'text_config': TEXT, 'answer_token_id': ANSWER, 'max_num_frames': None}
    return write(folder, Original(otter=True, frames=None), 1, **sizes)


def otter_video_format(folder: Path) -> Path:
    sizes = {'vision_config': VISION, 'text_config': TEXT, 'answer_token_id': ANSWER, 'max_num_frames': 4}
    return write(folder, Original(otter=True, frames=4), 3, **sizes)
