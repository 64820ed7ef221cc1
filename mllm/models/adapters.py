"""Stage 9 of a sample's way, before training: LoRA and DoRA adapters by name pattern, and merging them.

    y = W x   ->   y = W x + alpha / r * B A x        A [r, in], B [out, r] learn, W does not

Adapters are put into the model itself, so its class, its forward and its other parameter names stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import SAFETENSORS_WEIGHTS_NAME as PEFT_FILE
from safetensors.torch import save_file
from torch import nn

from mllm.models.arguments import LoraArgs
from mllm.models.hub import near
from mllm.utils.patterns import matches


def add_lora(model: nn.Module, lora: LoraArgs, tune: Sequence[str], default_target: Sequence[str]) -> None:
    """Put adapters on the linear layers that match `lora.target`; then they learn, and else only what `tune` names.

    Patterns are those of `apply_freeze`, over module names. ValueError that lists patterns without a linear layer.
    """
    patterns = lora.get('target') or default_target
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    unmatched = [pattern for pattern in patterns if not any(matches(name, pattern) for name in layers)]
    if unmatched:
        faults = [f'{pattern!r} matches no linear layer{near(pattern, layers)}' for pattern in unmatched]
        raise ValueError('model_args.lora.target: ' + '; '.join(faults))
    tuned = [name for name, _ in model.named_parameters() if any(matches(name, pattern) for pattern in tune)]
    target = [name for name in layers if any(matches(name, pattern) for pattern in patterns)]
    both = sorted({name for name in tuned if name.rpartition('.')[0] in target})
    if both:
        raise ValueError(f'model_args.tune: {", ".join(both[:5])} would learn beside its own adapter; name one of them')
    config = LoraConfig(
        r=lora['r'],
        lora_alpha=lora.get('alpha', lora['r']),  # type: ignore[arg-type]
        lora_dropout=lora.get('dropout', 0.0),
        use_dora=lora.get('dora', False),
        target_modules=target,
    )
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if name in tuned:
            parameter.requires_grad_(True)


def adapted_layers(model: nn.Module) -> dict[str, BaseTunerLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Add every adapter to the weights it stands beside, in place, and remove it."""
    for name, layer in adapted_layers(model).items():
        merged: Any = layer
        merged.merge(safe_merge=True)
        parent, _, child = name.rpartition('.')
        setattr(model.get_submodule(parent), child, layer.get_base_layer())


def write_peft(model: nn.Module, folder: str, base: str | None) -> list[str]:
    """Write the adapters alone as peft does: adapter_config.json (over the model `base`) and adapter_model.safetensors.

    Returns the names of the other parameters that were learnt, which that format leaves out.
    """
    (name, config), *_ = cast(Any, model).peft_config.items()
    config = copy(config)
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    weights = get_peft_model_state_dict(model, adapter_name=name)
    named = {f'base_model.model.{key}': tensor.contiguous() for key, tensor in weights.items()}
    save_file(named, f'{folder}/{PEFT_FILE}')
    return [key for key, tensor in model.named_parameters() if tensor.requires_grad and 'lora_' not in key]
