"""What a config has other than the one a run began with; before stage 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

RUN = ('model_args', 'data_args.train', 'data_args.augment')
"""With another value here it is another run."""
FREE = ('model_args.feature_cache', 'model_args.attn_implementation')
"""These change how fast it is."""
COURSE = (
    *('seed', 'data_seed', 'per_device_train_batch_size', 'gradient_accumulation_steps', 'learning_rate', 'optim'),
    *('lr_by_part', 'ema_decay'),
    *('weight_decay', 'lr_scheduler_type', 'lr_scheduler_kwargs', 'warmup_steps', 'max_grad_norm'),
    *('label_smoothing_factor', 'adam_beta1', 'adam_beta2', 'adam_epsilon', 'bf16', 'fp16'),
)
"""Training arguments with which training takes another course."""


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Differences that make it another run, and those in training arguments that change its course.

    Lines 'a.b.c is NEW, was OLD'.
    """
    before, now = dict(leaves(old)), dict(leaves(new))
    lines = {
        key: f'{key} is {now.get(key)!r}, was {before.get(key)!r}'
        for key in dict.fromkeys([*now, *before])
        if now.get(key) != before.get(key)
    }
    run = [line for key, line in lines.items() if is_below(key, RUN) and not is_below(key, FREE)]
    return run, [line for key, line in lines.items() if is_below(key, [f'training_args.{name}' for name in COURSE])]


def leaves(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """('a.b.0', value) of all that is no dict or list; empty ones stand for themselves."""
    items = dict(value) if isinstance(value, Mapping) else dict(enumerate(value)) if is_sequence(value) else {}
    if not items:
        yield path, value
    for key, item in items.items():
        yield from leaves(item, f'{path}.{key}' if path else str(key))


def is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def is_below(key: str, tops: Any) -> bool:
    return any(key == top or key.startswith(f'{top}.') for top in tops)
