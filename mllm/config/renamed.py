"""The table of training arguments that transformers 5 has removed, and what stands for them; before stage 1.

Old names work on the command line, in `training_args` and in --cfg-options; what a run resolves to has new names only.
Names that transformers 5 still takes by itself (gradient_checkpointing, fsdp='full_shard') are not in the table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mllm.config.arguments import describe, fits

Values = dict[str, Any]
"""New values by name: 'a.b' is a key of a dict, and a name in capitals a variable of the environment."""


@dataclass(frozen=True)
class Removed:
    """`kind` is the type of the old argument; `convert` makes new values of an old one, none where it changes nothing.

    None stands for an argument that is not given and is not converted. ValueError, saying what to write, for values
    that nothing stands for.
    """

    kind: type
    convert: Callable[[Any], Values]


def renamed(new: str, kind: type) -> Removed:
    """The same value under another name."""
    return Removed(kind, lambda value: {new: value})


def switch(new: str, value: Any) -> Removed:
    """A bool whose True is now one value of another argument."""
    return Removed(bool, lambda on: {new: value} if on else {})


def settled(kind: type, *neutral: Any, instead: str) -> Removed:
    """Only values that ask for what happens anyway can still be given."""

    def convert(value: Any) -> Values:
        if value not in neutral:
            raise ValueError(instead)
        return {}

    return Removed(kind, convert)


def warmup_share(ratio: float) -> Values:
    if not 0 <= ratio < 1:
        raise ValueError('write warmup_steps: below 1 it is a share of all steps, from 1 on a number of steps')
    return {'warmup_steps': ratio} if ratio else {}


def wrap_layers(name: str) -> Values:
    return {
        'fsdp_config.transformer_layer_cls_to_wrap': [name],
        'fsdp_config.auto_wrap_policy': 'TRANSFORMER_BASED_WRAP',
    }


def wrap_by_size(parameters: int) -> Values:
    if not parameters:
        return {}
    return {'fsdp_config.min_num_params': parameters, 'fsdp_config.auto_wrap_policy': 'SIZE_BASED_WRAP'}


AMP = settled(str, 'auto', 'cuda_amp', 'cpu_amp', instead="there is no Apex; write bf16=True, or fp16=True for torch's")
TPU = 'TPUs are not supported; leave it out'
NO_JIT = 'there is no such mode; leave it out, or write torch_compile=True'

REMOVED: dict[str, Removed] = {
    'adafactor': switch('optim', 'adafactor'),
    'evaluation_strategy': renamed('eval_strategy', str),
    'fp16_backend': AMP,
    'fp16_opt_level': settled(str, 'O1', instead='there is no Apex; leave it out'),
    'fsdp_min_num_params': Removed(int, wrap_by_size),
    'fsdp_transformer_layer_cls_to_wrap': Removed(str, wrap_layers),
    # It made training faster, not different: lengths here are known only once an episode is drawn.
    'group_by_length': settled(bool, True, False, instead=''),
    'half_precision_backend': AMP,
    'include_inputs_for_metrics': switch('include_for_metrics', ['inputs']),
    # Tokens per second are logged always.
    'include_tokens_per_second': settled(bool, True, False, instead=''),
    'jit_mode_eval': settled(bool, False, instead=NO_JIT),
    'logging_dir': renamed('TENSORBOARD_LOGGING_DIR', str),
    'mp_parameters': settled(str, '', instead='SageMaker model parallelism is not supported; leave it out'),
    'no_cuda': switch('use_cpu', True),
    'past_index': settled(int, -1, instead='no model here keeps such a past; leave it out'),
    'per_gpu_eval_batch_size': renamed('per_device_eval_batch_size', int),
    'per_gpu_train_batch_size': renamed('per_device_train_batch_size', int),
    'push_to_hub_model_id': renamed('hub_model_id', str),
    'push_to_hub_organization': settled(str, instead="write hub_model_id='ORGANISATION/NAME'"),
    'push_to_hub_token': renamed('hub_token', str),
    'ray_scope': settled(str, 'last', instead='there is no search over hyperparameters; leave it out'),
    'save_safetensors': settled(bool, True, instead='weights are saved as safetensors only; leave it out'),
    'sharded_ddp': settled(str, '', instead='write fsdp=True, and fsdp_config for its details'),
    'torchdynamo': renamed('torch_compile_backend', str),
    'tpu_metrics_debug': settled(bool, False, instead=TPU),
    'tpu_num_cores': settled(int, instead=TPU),
    'use_ipex': settled(bool, False, instead=NO_JIT),
    'use_legacy_prediction_loop': settled(bool, False, instead='there is one way to evaluate; leave it out'),
    # transformers 4 has taken the device by itself for long, whatever was given here.
    'use_mps_device': settled(bool, True, False, instead=''),
    'warmup_ratio': Removed(float, warmup_share),
    'xpu_backend': renamed('ddp_backend', str),
}


@dataclass
class Translation:
    """Training arguments of one origin (a file, options, flags): those with live names, and what old names became."""

    kept: Values
    new: Values = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def translate(given: Mapping[str, Any], prefix: str) -> Translation:
    """`given` with new names only. One warning for each old name; faults for values and pairs that exclude each other.

    `prefix` stands before a name in messages: 'training_args.' or '--'.
    """
    result = Translation({name: value for name, value in given.items() if name not in REMOVED})
    origin = dict.fromkeys(result.kept, '')
    for old in (name for name in given if name in REMOVED):
        text = f'{prefix}{old}={shown(old, given[old])}'
        try:
            values = new_values(old, given[old])
            for new, value in values.items():
                check_alone(new, value, result.kept, origin)
        except ValueError as error:
            result.faults.append(f'{text}: an old name; {error}')
            continue
        result.new |= values
        origin |= dict.fromkeys(values, f'{prefix}{old}')
        used = ', '.join(f'{new}={shown(old, value)}' for new, value in values.items())
        what = f'used, and to be written instead: {used}' if used else 'it changes nothing, leave it out'
        result.warnings.append(f'{text} is an old name; {what}')
    return result


def new_values(old: str, value: Any) -> Values:
    """What an old argument stands for; ValueError if it has the wrong type or stands for nothing."""
    entry = REMOVED[old]
    if value is None:
        return {}
    if not fits(value, entry.kind):
        raise ValueError(f'expected {describe(entry.kind)}')
    return entry.convert(value)


def check_alone(new: str, value: Any, kept: Values, origin: Mapping[str, str]) -> None:
    """ValueError if `new` is given too: by itself, through another old name (`origin`), or in the environment."""
    top, _, inner = new.partition('.')
    whole = kept.get(top)
    if new in origin or (isinstance(whole, Mapping) and inner in whole):
        raise ValueError(f'{origin.get(new) or new} is given too; keep one of them')
    if new.isupper() and os.environ.get(new, value) != value:
        raise ValueError(f'the environment has {new}={os.environ[new]!r}; keep one of them')


def shown(old: str, value: Any) -> str:
    """A value for a message; access tokens are not shown."""
    return '...' if old.endswith('_token') and value is not None else repr(value)
