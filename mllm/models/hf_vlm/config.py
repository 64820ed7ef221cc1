"""Stage 9 of a sample's way: the shape of a model with a processor of its own, by path or from a dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedTokenizerBase

from mllm.models.hf_vlm.images import image_token_id
from mllm.models.hub import part_config, part_faults

SPECIAL_IDS = ('pad_token_id', 'bos_token_id', 'eos_token_id')
TOKEN_FIELDS = ('_token_id', '_token_index')
"""Ends of the names of a config's fields that hold ids."""
SHARED = ('image_grid_pinpoints',)
"""What a model must know of how its images were processed: fields of its config and of the image processor."""


def config_faults(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a config given as a dict, or else with its parts, one line each."""
    faults = [fault for name, part in parts_of(config).items() for fault in part_faults(f'config.{name}', part)]
    return faults or part_faults('config', config)


def parts_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts of a config that are dicts, by name, with the model type that each has if it names none."""
    model_type = str(config.get('model_type'))
    if model_type not in CONFIG_MAPPING:
        return {}
    config_class: Any = CONFIG_MAPPING[model_type]
    default = config_class()
    return {
        name: {'model_type': getattr(default, name).model_type, **config[name]}
        for name in config_class.sub_configs
        if isinstance(config.get(name), Mapping)
    }


def describe(given: str | Mapping[str, Any], processor: Any, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """A model's config: that of its folder, or made of a dict, to which ids of tokens and size of the vocabulary come.

    ValueError if the model looks for images at another token than its processor writes.
    """
    if isinstance(given, str):
        config = part_config('model_name_or_path', given)
    else:
        config = part_config('config', completed(given, processor, tokenizer))
    wanted = image_token_id(processor)
    found = getattr(config, 'image_token_id', wanted)
    if found != wanted:
        raise ValueError(
            f'the model puts images at the token {found}, its processor at {wanted}; model_args.processor or tokenizer '
            'is not that of the model'
        )
    for name in SHARED:
        if name in config.to_dict():
            setattr(config, name, [list(pair) for pair in getattr(processor.image_processor, name)])
    return config


def completed(given: Mapping[str, Any], processor: Any, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """A config's dict with what tokenizer and processor decide, where the dict does not say otherwise."""
    config_class: Any = CONFIG_MAPPING[given['model_type']]
    words = {'vocab_size': len(tokenizer), **{name: getattr(tokenizer, name) for name in SPECIAL_IDS}}
    ids = dict(token_fields(config_class, processor, tokenizer))
    if 'text_config' not in config_class.sub_configs:
        return {**words, **ids, **given}
    return {**ids, **given, 'text_config': {**words, **given.get('text_config', {})}}


def token_fields(
    config_class: type[PreTrainedConfig], processor: Any, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[str, int]]:
    """The fields of a config that hold ids of tokens for images, and these ids."""
    common = {own: name for name, own in config_class.attribute_map.items()}
    for field in fields(config_class):
        name = common.get(field.name, field.name)
        if not field.name.endswith(TOKEN_FIELDS) or name in SPECIAL_IDS:
            continue
        if name == 'image_token_id':
            yield field.name, image_token_id(processor)
        elif isinstance(value := getattr(processor, name, getattr(tokenizer, name, None)), int):
            yield field.name, value
