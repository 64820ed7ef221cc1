"""From the `model_args` section of a config to a family's preprocessor and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from mllm.models.family import Family
from mllm.registry import MODELS
from mllm.types import Preprocessor


def load_preprocessor(model_args: Mapping[str, Any]) -> Preprocessor:
    """All the data path needs of the model; reads no weights."""
    family, arguments = resolve(model_args)
    return family.preprocessor(arguments)


def load_model(model_args: Mapping[str, Any], preprocessor: Preprocessor) -> PreTrainedModel:
    """The model itself; what has to be drawn comes from torch's global generator, so seed it before."""
    family, arguments = resolve(model_args)
    return family.model(arguments, preprocessor)


def load_skeleton(model_args: Mapping[str, Any], preprocessor: Preprocessor) -> PreTrainedModel:
    """The model's shapes, names and what learns, on the meta device."""
    family, arguments = resolve(model_args)
    return family.skeleton(replace(arguments, adapter=None, quantization=None), preprocessor)


def resolve(model_args: Mapping[str, Any]) -> tuple[Family[Any], Any]:
    """The family named by `type`, and the other keys as its arguments."""
    family = MODELS.get(model_args['type'])
    return family(), family.arguments(**{key: value for key, value in model_args.items() if key != 'type'})
