"""Stage 9 of a sample's way, before training: parts that transformers loads by path, with errors that name the key."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from huggingface_hub import snapshot_download
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from mllm.registry import nearest


@contextmanager
def loading(key: str, path: object) -> Iterator[None]:
    """Errors of transformers about `path` become one that names the config key it came from."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f'model_args.{key}={str(path)!r} cannot be loaded; write a folder in the Hugging Face layout or a name on '
            f'its hub ({str(error).strip()})'
        ) from error


def local_folder(key: str, path: str) -> str:
    """The folder `path`, or what the hub has under that name, fetched to this machine."""
    if os.path.isdir(path):
        return path
    with loading(key, path):
        return snapshot_download(path, allow_patterns=['*.bin', '*.safetensors', '*.json', '*.model', '*.pt'])


def part_config(key: str, part: str | Mapping[str, Any]) -> PreTrainedConfig:
    """A part's config: of the folder `part`, or made of a dict with `model_type`.

    ValueError with the nearest names for types and fields that do not exist: transformers takes any field.
    """
    if isinstance(part, str):
        with loading(key, part):
            return AutoConfig.from_pretrained(part)
    if 'model_type' not in part:
        raise ValueError(f"model_args.{key}: a dict needs model_type='...', or write a path; got {dict(part)!r}")
    model_type = str(part['model_type'])
    if model_type not in CONFIG_MAPPING:
        raise ValueError(
            f'model_args.{key}.model_type: {model_type!r} is no model type{near(model_type, CONFIG_MAPPING)}'
        )
    config_class = CONFIG_MAPPING[model_type]
    # ResNets and their like know no hidden_size, but LLaVA asks every tower for one.
    known = {'model_type', 'hidden_size', *config_class.attribute_map, *(field.name for field in fields(config_class))}
    faults = [
        f'model_args.{key}.{name}: {config_class.__name__} has no such field{near(name, known)}'
        for name in part
        if name not in known
    ]
    if faults:
        raise ValueError('\n'.join(faults))
    return AutoConfig.for_model(**part)


def part_faults(key: str, part: Mapping[str, Any]) -> list[str]:
    """What is wrong with a part given as a dict, one line each."""
    try:
        part_config(key, part)
    except ValueError as error:
        return str(error).split('\n')
    return []


def near(name: str, names: Any) -> str:
    """The nearest names if any are near; all of them would be too many."""
    text = nearest(name, names)
    return text if text.startswith('; did') else ''


def check_complete(info: Mapping[str, Any], path: str) -> None:
    """ValueError if `path` lacked weights of the model (`output_loading_info` of `from_pretrained`)."""
    faults = [*info['missing_keys'], *info['mismatched_keys']]
    if faults:
        raise ValueError(
            f'{path} lacks weights or has them in other shapes: {", ".join(sorted(map(str, faults))[:20])}'
        )
