"""Stage 9 of a sample's way, when learning: parts of a model that learn at rates of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mllm.utils.faults import FaultsError
from mllm.utils.patterns import matches

WRAPPERS = ('_fsdp_wrapped_module.', '_orig_mod.')
"""Put into names by what wraps a module."""


def set_learning_rates(optimizer: Optimizer, model: nn.Module, rates: Mapping[str, float]) -> None:
    """Give parameters whose names match a pattern of `rates` that rate, in groups of their own; the last match counts.

    Patterns are those of `model_args.freeze`. The schedule scales every rate alike. FaultsError that lists patterns of
    which nothing learns.
    """
    names = {id(parameter): plain_name(name) for name, parameter in model.named_parameters()}
    learning = {names[id(parameter)] for group in optimizer.param_groups for parameter in group['params']}
    unmatched = [pattern for pattern in rates if not any(matches(name, pattern) for name in learning)]
    if unmatched:
        parts = ', '.join(sorted({'.'.join(name.split('.')[:2]) for name in learning}))
        raise FaultsError(
            [f'training_args.lr_by_part: nothing that learns matches {name!r}; {parts} do' for name in unmatched]
        )
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        rest = {key: value for key, value in group.items() if key != 'params'}
        parted: dict[float, list[nn.Parameter]] = {}
        for parameter in group['params']:
            parted.setdefault(rate_of(names[id(parameter)], rates, group['lr']), []).append(parameter)
        groups += [{**rest, 'lr': rate, 'params': parameters} for rate, parameters in parted.items()]
    # The rate that is logged is the first group's: let it be training_args.learning_rate, where anything has that.
    groups.sort(key=lambda group: group['lr'] != optimizer.defaults['lr'])
    optimizer.param_groups.clear()
    for group in groups:
        optimizer.add_param_group(group)


def rate_of(name: str, rates: Mapping[str, float], default: float) -> float:
    found = [rate for pattern, rate in rates.items() if matches(name, pattern)]
    return found[-1] if found else default


def plain_name(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, '')
    return name
