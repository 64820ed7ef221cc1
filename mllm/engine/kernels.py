"""Stage 9 of a sample's way, before training: which faster kernels a run asks for, and why they cannot run.

training_args.use_liger_kernel      norms, rotations and feed-forwards by Liger, in Triton
model_args.attn_implementation      what the model was built with: flash and flex attention have needs of their own
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import is_liger_kernel_available

FUSED_LOSS = 'fused_linear_cross_entropy'
"""Liger's option that computes the loss inside of the model's forward, from labels. Ours comes from logits at the
supervised positions alone, which saves the same memory; the forward must stay the model's own."""


def kernel_faults(model: Any, args: TrainingArguments) -> Iterator[str]:
    """What of the kernels that `args` and the model ask for cannot run here, one line each."""
    if args.use_liger_kernel:
        yield from liger_faults(model, args)
    if not args.do_train:
        return
    attention = model.config.get_text_config()._attn_implementation
    if attention == 'flex_attention' and args.device.type == 'cpu':
        yield "the model has attn_implementation='flex_attention', which learns on GPUs only; write 'sdpa' or 'eager'"
    half = args.bf16 or args.fp16 or model.dtype != torch.float32
    if attention == 'flash_attention_2' and not half:
        yield (
            "the model has attn_implementation='flash_attention_2', which computes in 16 bits only; add bf16=True, or "
            "write 'sdpa'"
        )


def liger_faults(model: Any, args: TrainingArguments) -> Iterator[str]:
    if (args.liger_kernel_config or {}).get(FUSED_LOSS):
        yield f'liger_kernel_config.{FUSED_LOSS}: the loss needs the logits it would not give; leave it out'
    if args.device.type != 'cuda':
        yield f'use_liger_kernel: its kernels run on GPUs, and this run is on {args.device.type}; leave it out'
    elif not is_liger_kernel_available():
        yield 'use_liger_kernel: the package is not installed; `pip install liger-kernel`, or leave it out'
    else:
        # Untyped: the package is there on GPUs only.
        known = import_module('liger_kernel.transformers.monkey_patch').MODEL_TYPE_TO_APPLY_LIGER_FN
        types = [model.config.model_type, model.config.get_text_config().model_type]
        if missing := [name for name in dict.fromkeys(types) if name not in known]:
            yield f'use_liger_kernel: Liger has no kernels for {" and ".join(missing)}; leave it out'


def liger_options(args: TrainingArguments) -> dict[str, Any]:
    """`liger_kernel_config` with the model's own forward kept."""
    return {**(args.liger_kernel_config or {}), FUSED_LOSS: False}
