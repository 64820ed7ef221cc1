"""Stage 9 of a sample's way: a Flamingo's shape from `model_args`, and its weights from parts or from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from mllm.models.flamingo.arguments import DECODER, TOWER, FlamingoArguments
from mllm.models.flamingo.config import FlamingoConfig
from mllm.models.flamingo.legacy import from_original, load_original
from mllm.models.flamingo.modeling import FlamingoForConditionalGeneration, make_cross_attention, make_perceiver
from mllm.models.flamingo.published import published_config, read_checkpoint
from mllm.models.hub import loading, local_folder
from mllm.models.llava.build import make_part, text_config, vision_config
from mllm.models.tokens import find_file
from mllm.utils.weights import load_weights

CHECKPOINT = 'checkpoint.pt'
"""What OpenFlamingo's repositories on the hub call their weights."""
GIVEN = ('only_attend_immediate_media', 'vision_post_layernorm', 'legacy_cache')
"""What is decided by `model_args` for models that are loaded, too."""


def build(args: FlamingoArguments, tokenizer: PreTrainedTokenizerBase, media_token_id: int) -> Any:
    """The model with its weights, in evaluation mode."""
    decided = {name: getattr(args, name) for name in GIVEN}
    options = {'dtype': getattr(torch, args.dtype), 'attn_implementation': {'text_config': args.attn_implementation}}
    if args.model_name_or_path is not None:
        model = from_folder(args.model_name_or_path, args.sizes, options)
    else:
        config = FlamingoConfig(
            vision_config=vision_config(args.vision_tower),
            text_config=text_config(args.llm, tokenizer),
            cross_attn_every_n_layers=args.cross_attn_every_n_layers,
            max_num_frames=args.max_num_frames,
            **args.sizes,
        )
        model = from_parts(args, config)
    for name, value in {**decided, 'media_token_id': media_token_id}.items():
        setattr(model.config, name, value)
    return model.eval()


def from_parts(args: FlamingoArguments, config: FlamingoConfig) -> FlamingoForConditionalGeneration:
    """A new model: tower and language model with their own weights if they are paths, the rest drawn or published."""
    # Only the frame: every part that holds weights is put in below, so nothing is drawn or held twice.
    with torch.device('meta'):
        model: Any = FlamingoForConditionalGeneration._from_config(config, dtype=getattr(torch, args.dtype))
    tower_class, dtype = type(model.vision_tower), model.dtype
    model.vision_tower = make_part(TOWER, args.vision_tower, config.vision_config, AutoModel, tower_class, args)
    parts: tuple[Any, Any] = AutoModelForCausalLM, AutoModelForCausalLM
    model.language_model = make_part('llm', args.llm, config.text_config, *parts, args)
    model.perceiver = make_perceiver(config).to(dtype)
    model.cross_attention = make_cross_attention(config).to(dtype)
    model.connect()
    if args.checkpoint is not None:
        load_original(model, read_checkpoint(checkpoint_file(args.checkpoint)), parts_by_path(args))
    return model


def parts_by_path(args: FlamingoArguments) -> list[str]:
    """The parts that have weights of their own."""
    parts = {TOWER: args.vision_tower, DECODER: args.llm}
    return [name for name, part in parts.items() if isinstance(part, str)]


def checkpoint_file(name: str) -> str:
    """The file, or what the folder or repository on the hub of that name has of it."""
    if Path(name).is_file():
        return name
    file = find_file(name, CHECKPOINT)
    if file is None:
        raise FileNotFoundError(
            f'model_args.checkpoint={name!r}: there is no such file, nor a folder or hub name with a {CHECKPOINT}'
        )
    return file


def from_folder(folder: str, sizes: Mapping[str, Any], options: dict[str, Any]) -> FlamingoForConditionalGeneration:
    """A saved model of ours, or a published one with a resampler of `sizes`, both strictly."""
    folder = local_folder('model_name_or_path', folder)
    with loading('model_name_or_path', folder):
        fields, _ = PreTrainedConfig.get_config_dict(folder)
    if fields.get('model_type') != FlamingoConfig.model_type:
        return from_original(read_checkpoint(folder), published_config(fields, **sizes), **options)
    with no_init_weights():
        model: Any = FlamingoForConditionalGeneration._from_config(FlamingoConfig.from_dict(fields), **options)
    model.tie_weights()  # no_init_weights leaves that out too
    load_weights(model, folder)
    return model
