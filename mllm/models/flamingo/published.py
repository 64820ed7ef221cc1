"""Stage 9 of a sample's way, before it: files and folders as OpenFlamingo and Otter publish them, read and written."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, CLIPVisionConfig, PreTrainedConfig
from transformers.utils import CONFIG_NAME

from mllm.models.flamingo.config import FlamingoConfig
from mllm.models.flamingo.legacy import embeddings_name, to_original
from mllm.models.flamingo.modeling import FlamingoForConditionalGeneration
from mllm.utils.weight_files import read_any, read_folder, read_pickle, write_bins


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a file (.pt, .bin, .safetensors) or of a folder of shards, under the original's names.

    Pickles are read as tensors only. Prefixes of wrappers and an enclosing `model_state_dict` are taken off.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == '.safetensors':
        state: Mapping[str, Any] = read_folder(path) if path.is_dir() else read_any(path)
    else:
        state = read_pickle(path)
        state = state.get('model_state_dict', state)
    return {name.removeprefix('module.'): value for name, value in state.items() if isinstance(value, Tensor)}


def vision_config(fields: Mapping[str, Any]) -> PreTrainedConfig:
    """The tower's config from the fields of a published config.json."""
    return CLIPVisionConfig.from_dict(without_dtype(fields))


def text_config(fields: Mapping[str, Any]) -> PreTrainedConfig:
    """A language model's config from the fields that older versions of transformers wrote for it."""
    fields = without_dtype(fields)
    if isinstance(attention := fields.get('attn_config'), Mapping):
        # MPT's share of dropped weights, which today's config takes as a whole number only.
        whole = {key: int(value) if value == 0 else value for key, value in attention.items() if key == 'attn_pdrop'}
        fields['attn_config'] = {**attention, **whole}
    return AutoConfig.for_model(**fields)


def without_dtype(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A part is computed in the precision of the whole, not in that it was published in."""
    return {name: value for name, value in fields.items() if name not in ('dtype', 'torch_dtype')}


def published_config(fields: Mapping[str, Any], **sizes: Any) -> FlamingoConfig:
    """The config that a published Otter's or Flamingo's config.json means; it does not say the resampler's `sizes`."""
    if not {'text_config', 'vision_config'} <= fields.keys():
        raise ValueError(
            f'this config.json (model_type {fields.get("model_type")!r}) is of no Otter or Flamingo; it has no '
            'text_config and vision_config'
        )
    return FlamingoConfig(
        vision_config=vision_config(fields['vision_config']),
        text_config=text_config(fields['text_config']),
        cross_attn_every_n_layers=fields.get('cross_attn_every_n_layers', 4),
        max_num_frames=fields.get('max_num_frames'),
        **sizes,
    )


def save_openflamingo(
    model: FlamingoForConditionalGeneration, file: str | Path, complete: Collection[str] = ()
) -> None:
    """Write a checkpoint.pt; parts in `complete` lie elsewhere, so it has nothing of them but the word embeddings."""
    parts = {name.split('.')[0] for name in model.state_dict()} - set(complete)
    state = to_original(model, 'openflamingo', (*(f'{part}.' for part in parts), f'{embeddings_name(model)}.'))
    torch.save({name: tensor.detach().clone() for name, tensor in state.items()}, file)


def save_otter(model: FlamingoForConditionalGeneration, folder: str | Path) -> None:
    """Write a folder as Otter publishes them: a config.json and sharded pytorch_model-*.bin, with all weights."""
    config: Any = model.config
    fields = {
        'model_type': 'otter',
        'architectures': ['OtterForConditionalGeneration'],
        'cross_attn_every_n_layers': config.cross_attn_every_n_layers,
        'max_num_frames': config.max_num_frames,
        'tie_word_embeddings': False,
        'text_config': config.text_config.to_dict(),
        'vision_config': config.vision_config.to_dict(),
    }
    write_bins(to_original(model, 'otter'), folder)
    Path(folder, CONFIG_NAME).write_text(json.dumps(fields, indent=2), encoding='utf-8')
