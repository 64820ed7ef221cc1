"""Stage 9 of a sample's way, before it: weights of the original OpenFlamingo and Otter, in both directions.

    original                                                    ours
    vision_encoder.* (open_clip's names, or transformers' 4)    vision_tower.*
    perceiver.layers.I.0.*, .I.1.* (Otter: .I.*)                perceiver.layers.I.*, .I.feed_forward.*
    lang_encoder.LAYERS.I.decoder_layer.*                       language_model.LAYERS.I.*
    lang_encoder.LAYERS.I.gated_cross_attn_layer.*              cross_attention.N.*    (I + 1 = (N + 1) * every_n)
    lang_encoder.*                                              language_model.*

OpenFlamingo publishes only what it trained; tower and language model come from elsewhere then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.initialization import no_init_weights

from mllm.models.flamingo.config import FlamingoConfig
from mllm.models.flamingo.modeling import FlamingoForConditionalGeneration, decoder_layers
from mllm.models.tokens import fit_embeddings
from mllm.utils.weights import listing, missing_names, wrong_shapes

Layout = Literal['openflamingo', 'otter']

DROPPED = re.compile(r'(rotary_emb\.inv_freq|(attention|attn)\.(bias|masked_bias)|position_ids|vision_encoder\.proj)$')
"""Buffers that transformers computes now, and CLIP's projection to the space of texts."""
ALIASES = {'old_decoder_blocks': 'decoder_layer', 'gated_cross_attn_layers': 'gated_cross_attn_layer'}
"""Lists that hold the same tensors once more, and what the tensors are called in the layers."""
IN_LAYER = re.compile(r'lang_encoder\.(?:.+\.)?(\d+)\.(decoder_layer|gated_cross_attn_layer)\.(.+)')
ALIAS = re.compile(r'lang_encoder\.(old_decoder_blocks|gated_cross_attn_layers)\.(\d+)\.(.+)')
RESAMPLER = re.compile(r'perceiver\.layers\.(\d+)\.([01])\.(.+)')
RENAMED_HEAD = {'embed_out.weight': 'lm_head.weight'}
"""GPT-NeoX's head, in transformers 4 and now."""
HEADLESS = {'openflamingo': ('mosaic_gpt',), 'otter': ('mosaic_gpt', 'mpt')}
"""Language models that compute with their embeddings in place of a head, by layout."""

OPEN_CLIP = {
    'class_embedding': 'embeddings.class_embedding',
    'positional_embedding': 'embeddings.position_embedding.weight',
    'conv1': 'embeddings.patch_embedding',
    'ln_pre': 'pre_layrnorm',
    'ln_post': 'post_layernorm',
}
OPEN_CLIP_BLOCK = {
    'ln_1': 'layer_norm1',
    'ln_2': 'layer_norm2',
    'attn.out_proj': 'self_attn.out_proj',
    'mlp.c_fc': 'mlp.fc1',
    'mlp.c_proj': 'mlp.fc2',
}
PROJECTIONS = ('q_proj', 'k_proj', 'v_proj')


def from_original(
    state: Mapping[str, Tensor], config: FlamingoConfig, **options: Any
) -> FlamingoForConditionalGeneration:
    """A model with all its weights from `state`, under the original's names; `options` as for `from_pretrained`."""
    with no_init_weights():
        model: Any = FlamingoForConditionalGeneration._from_config(config, **options)
    model.tie_weights()  # no_init_weights leaves that out too
    load_original(model, state)
    return model.eval()


def load_original(
    model: FlamingoForConditionalGeneration, state: Mapping[str, Tensor], complete: Collection[str] = ()
) -> None:
    """Load the original's tensors; parts named in `complete` have their weights already.

    The embeddings get as many rows as `state` has. ValueError that lists missing and unexpected names and wrong
    shapes; nothing but the number of rows is changed unless everything fits.
    """
    weights = to_live(state, model)
    fit_rows(model, weights)
    own = model.state_dict()
    missing = [name for name in missing_names(own, weights) if name.split('.')[0] not in complete]
    faults = [
        *listing('missing', missing),
        *listing('unexpected', sorted(weights.keys() - own.keys())),
        *listing('of another shape', wrong_shapes(own, weights)),
    ]
    if faults:
        raise ValueError(
            'the checkpoint is not of this model; look at the sizes of its parts, cross_attn_every_n_layers '
            f'({model.config.cross_attn_every_n_layers}) and max_num_frames\n' + '\n'.join(faults)
        )
    model.load_state_dict(weights, strict=False)


def fit_rows(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Give the embeddings the number of rows that `weights` has, which were made for another tokenizer."""
    name = f'{embeddings_name(model)}.weight'
    if name not in weights:
        return
    rows = len(weights[name])
    if rows < len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(rows, mean_resizing=False)
    fit_embeddings(model, rows)


def embeddings_name(model: Any) -> str:
    """The name of the module of the word embeddings."""
    embeddings = model.get_input_embeddings()
    return next(name for name, module in model.named_modules() if module is embeddings)


def to_live(state: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The original's tensors under our names; what has no place here keeps its own. ValueError for unequal aliases."""
    layers, _ = decoder_layers(model.language_model)
    live: dict[str, Tensor] = {}
    unequal = []
    for original, tensor in state.items():
        if DROPPED.search(original):
            continue
        wrapped = ALIAS.sub(lambda found: f'lang_encoder.{found[2]}.{ALIASES[found[1]]}.{found[3]}', original)
        for name, part in renamed(wrapped, tensor, layers, model.config.cross_attn_every_n_layers).items():
            if name in live and not torch.equal(live[name], part):
                unequal.append(f'{original} -> {name}')
            live[name] = part
    if unequal:
        raise ValueError('\n'.join(listing('names of one tensor with different values', unequal)))
    return live


def renamed(name: str, tensor: Tensor, layers: str, step: int) -> dict[str, Tensor]:
    """One of the original's tensors under our name, or names where it holds several."""
    if found := IN_LAYER.fullmatch(name):
        number, part, rest = int(found[1]), found[2], found[3]
        if part == 'decoder_layer':
            return {f'language_model.{layers}.{number}.{rest}': tensor}
        if (number + 1) % step:
            return {name: tensor}
        rest = re.sub(r'^ff\.', 'feed_forward.', rest)
        return {f'cross_attention.{(number + 1) // step - 1}.{rest}': tensor}
    if found := RESAMPLER.fullmatch(name):
        inner = found[3] if found[2] == '0' else f'feed_forward.{found[3]}'
        return {f'perceiver.layers.{found[1]}.{inner}': tensor}
    part, _, rest = name.partition('.')
    if part == 'lang_encoder':
        return {f'language_model.{RENAMED_HEAD.get(rest, rest)}': tensor}
    if part == 'vision_encoder':
        return {f'vision_tower.{inner}': piece for inner, piece in tower_names(rest, tensor).items()}
    return {name: tensor}


def tower_names(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A tensor of the tower by open_clip's name, or transformers', under transformers' name."""
    if found := re.fullmatch(r'transformer\.resblocks\.(\d+)\.(.+)', name):
        layer, rest = f'encoder.layers.{found[1]}', found[2]
        if inner := re.fullmatch(r'attn\.in_proj_(weight|bias)', rest):
            pieces = zip(PROJECTIONS, tensor.chunk(3), strict=True)
            return {f'{layer}.self_attn.{key}.{inner[1]}': piece for key, piece in pieces}
        stem, _, kind = rest.rpartition('.')
        return {f'{layer}.{OPEN_CLIP_BLOCK.get(stem, stem)}.{kind}': tensor}
    if name in OPEN_CLIP:
        return {OPEN_CLIP[name]: tensor}
    stem, _, kind = name.removeprefix('vision_model.').rpartition('.')
    return {f'{OPEN_CLIP.get(stem, stem)}.{kind}': tensor}


def to_original(
    model: FlamingoForConditionalGeneration, layout: Layout, parts: tuple[str, ...] = ('',)
) -> dict[str, Tensor]:
    """The tensors of a model under the names of the original code, for which `layout` names the project.

    `parts` are beginnings of our names; others are left out.
    """
    layers, _ = decoder_layers(model.language_model)
    model_type = model.config.text_config.model_type
    original: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition('.')
        if not name.startswith(parts):
            continue
        if part == 'language_model':
            if rest != 'lm_head.weight' or model_type not in HEADLESS[layout]:
                original[f'lang_encoder.{lm_name(rest, layers, model_type)}'] = tensor
        elif part == 'cross_attention':
            number, _, rest = rest.partition('.')
            layer = (int(number) + 1) * model.config.cross_attn_every_n_layers - 1
            if layout == 'openflamingo':
                rest = re.sub(r'^feed_forward\.', 'ff.', rest)
            original[f'lang_encoder.{layers}.{layer}.gated_cross_attn_layer.{rest}'] = tensor
        elif part == 'perceiver':
            original[resampler_name(name) if layout == 'openflamingo' else name] = tensor
        elif layout == 'otter':
            original[f'vision_encoder.vision_model.{rest}'] = tensor
    if layout == 'openflamingo' and 'vision_tower.'.startswith(parts):
        tower = open_clip(model.vision_tower.state_dict())
        original |= {f'vision_encoder.{name}': tensor for name, tensor in tower.items()}
    return original


def lm_name(name: str, layers: str, model_type: str) -> str:
    """A language model's own name -> the original's, which wraps decoder layers."""
    if model_type == 'gpt_neox' and name == 'lm_head.weight':
        return 'embed_out.weight'
    return re.sub(rf'^({re.escape(layers)}\.\d+)\.', r'\1.decoder_layer.', name)


def resampler_name(name: str) -> str:
    """Our name of a tensor of the resampler -> OpenFlamingo's."""
    name = re.sub(r'^(perceiver\.layers\.\d+)\.feed_forward\.', r'\1.1.', name)
    return re.sub(r'^(perceiver\.layers\.\d+)\.(norm|to)_', r'\1.0.\2_', name)


def open_clip(tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tower's tensors under open_clip's names."""
    back = {ours: theirs for theirs, ours in OPEN_CLIP.items()}
    inner_back = {ours: theirs for theirs, ours in OPEN_CLIP_BLOCK.items()}
    named: dict[str, Tensor] = {}
    for name, tensor in tower.items():
        stem, _, kind = name.rpartition('.')
        if found := re.fullmatch(r'encoder\.layers\.(\d+)\.(.+)', stem):
            block, inner = f'transformer.resblocks.{found[1]}', found[2]
            if inner == 'self_attn.q_proj':
                parts = [tower[f'encoder.layers.{found[1]}.self_attn.{key}.{kind}'] for key in PROJECTIONS]
                named[f'{block}.attn.in_proj_{kind}'] = torch.cat(parts)
            elif inner in inner_back:
                named[f'{block}.{inner_back[inner]}.{kind}'] = tensor
        else:
            named[back[name] if name in back else f'{back[stem]}.{kind}'] = tensor
    return named
