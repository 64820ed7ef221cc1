"""Values of training and generation arguments that transformers would refuse too late; before stage 1."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import GenerationConfig, SchedulerType
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from mllm.config.training_args import TrainingArguments
from mllm.registry import nearest

AT_LEAST_ONE = ('per_device_train_batch_size', 'per_device_eval_batch_size', 'gradient_accumulation_steps')
JSON_FIELDS = (*TrainingArguments._VALID_DICT_FIELDS, 'parallelism_config')
REPORTS = ('all', 'none', *INTEGRATION_TO_CALLBACK)
GIVEN = ('optimizer', 'num_warmup_steps', 'num_training_steps', 'last_epoch')
"""What a scheduler is called with beside `lr_scheduler_kwargs`."""


def value_faults(section: Mapping[str, Any]) -> Iterator[str]:
    """Faults of values whose types are right, as 'name: what is wrong'."""
    for name in AT_LEAST_ONE:
        value = section.get(name)
        if isinstance(value, int) and value < 1:
            yield f'{name}: expected at least 1, got {value}'
    for name in JSON_FIELDS:
        value = section.get(name)
        if isinstance(value, str) and value.lstrip().startswith('{'):
            try:
                json.loads(value)
            except ValueError as error:
                yield f'{name}: not JSON ({error}), got {value!r}'
    reports = section.get('report_to')
    for name in [reports] if isinstance(reports, str) else reports if isinstance(reports, Sequence) else ():
        if name not in REPORTS:
            yield f'report_to: there is no {name!r}{nearest(str(name), REPORTS)}'
    rates, decay = section.get('lr_by_part'), section.get('ema_decay')
    for name, rate in rates.items() if isinstance(rates, Mapping) else ():
        if not isinstance(rate, int | float) or rate < 0:
            yield f'lr_by_part: expected a rate from 0 for {name!r}, got {rate!r}'
    if isinstance(decay, int | float) and not 0 < decay < 1:
        yield f'ema_decay: expected a number between 0 and 1, such as 0.999, got {decay}'
    yield from scheduler_faults(section)


def scheduler_faults(section: Mapping[str, Any]) -> Iterator[str]:
    """Arguments that the learning rate schedule does not have."""
    kwargs, name = section.get('lr_scheduler_kwargs'), section.get('lr_scheduler_type', 'linear')
    if not isinstance(kwargs, Mapping) or name not in [kind.value for kind in SchedulerType]:
        return
    parameters = inspect.signature(TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]).parameters
    known = [key for key in parameters if key not in GIVEN]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in kwargs:
        if key not in known:
            yield f'lr_scheduler_kwargs.{key}: {name!r} has no such argument{nearest(key, known)}'


def generation_faults(gen_kwargs: Mapping[str, Any]) -> list[str]:
    """What `generate` would refuse after training."""
    numbers = [
        f'data_args.gen_kwargs.{name}: expected a number, got {value!r}'
        for name, value in gen_kwargs.items()
        if isinstance(value, str) and name.startswith(('max_', 'min_', 'num_', 'top_', 'temperature', 'penalty'))
    ]
    if numbers:
        return numbers
    try:
        GenerationConfig(**gen_kwargs).validate()
    except (ValueError, TypeError) as error:
        return [f'data_args.gen_kwargs: {" ".join(str(error).split())}']
    return []
