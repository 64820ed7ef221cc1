"""Before stage 9 of a sample's way: which model is meant by a config, or by the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from mllm.config.config import load_model_args, read_file
from mllm.config.output_dir import CONFIG_NAME
from mllm.config.training_args import TrainingArguments
from mllm.engine.checkpoint import has_model, resume_point
from mllm.models.builder import load_model, load_preprocessor, resolve
from mllm.models.family import Family
from mllm.types import Preprocessor
from mllm.utils.log import get_logger

logger = get_logger(__name__)


def trained_model(model_args: Mapping[str, Any], folder: str) -> Mapping[str, Any]:
    """`model_args` of an evaluation without training: where they name no model, the one that a run left in `folder`.

    Of a run with adapters, `folder` holds these, and the model they stand in is still that of `model_args`.
    """
    key = 'adapter' if model_args.get('lora') else 'model_name_or_path'
    if model_args.get(key):
        return model_args
    source = folder if has_model(folder) else resume_point(folder)
    if source is None:
        logger.warning(
            'nothing is trained here: %s holds no model and model_args.%s names none; parts of model_args without a '
            'path have drawn weights',
            folder,
            key,
        )
        return model_args
    logger.info('the model in %s is evaluated', source)
    return {**model_args, key: source}


@dataclass(frozen=True)
class OpenedModel:
    """A model with all that belongs to it."""

    family: Family[Any]
    arguments: Any
    preprocessor: Preprocessor
    model: PreTrainedModel


def open_model(source: str, cfg_options: Sequence[str] = ()) -> OpenedModel:
    """The model of `model_of`, loaded. What has to be drawn is drawn as in the run. Errors as there."""
    model_args = model_of(source, cfg_options)
    family, arguments = resolve(model_args)
    preprocessor = load_preprocessor(model_args)
    set_seed(seed_of(source))
    return OpenedModel(family, arguments, preprocessor, load_model(model_args, preprocessor))


def seed_of(source: str) -> int:
    """The seed of a config or a run."""
    path = Path(source, CONFIG_NAME) if Path(source).is_dir() else Path(source)
    return int((read_file(str(path)).get('training_args') or {}).get('seed', TrainingArguments.seed))


def model_of(source: str, cfg_options: Sequence[str] = ()) -> Mapping[str, Any]:
    """The `model_args` of a config file (its data may be left out), or of the model that a run's output folder holds.

    ConfigError with all faults of the model's section; FileNotFoundError for a folder that no run wrote.
    """
    folder = Path(source)
    if not folder.is_dir():
        return load_model_args(source, cfg_options)
    if not (folder / CONFIG_NAME).is_file():
        raise FileNotFoundError(
            f'{source} has no {CONFIG_NAME}, so it is no output folder of a run; name a config, and a model of another '
            f'origin with --cfg-options model_args.model_name_or_path={source}'
        )
    # A model that began as another one is what the run has made of it.
    own = load_model_args(str(folder / CONFIG_NAME), cfg_options)
    if has_model(source) or resume_point(source):
        key = 'adapter' if own.get('lora') else 'model_name_or_path'
        own = {**own, key: None}
    return trained_model(own, source)
