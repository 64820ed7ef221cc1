"""Weights on disk of a model with adapters, between runs: what was learnt, and a sample of what it was learnt over.

model.safetensors   parameters that learn, and the buffers beside them
base.safetensors    a few values of every other tensor: over another base, adapters give numbers that mean nothing
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

BASE_SAMPLE = 'base.safetensors'
SAMPLED = 8
"""Values kept of each tensor."""
TOLERANCE = 0.02
"""Relative: the base may be loaded in bfloat16, which keeps 8 bits."""


def learnt_names(model: nn.Module) -> list[str] | None:
    """What a checkpoint of a model with adapters holds, by name in its state dict; None for a model without any."""
    if not any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        return None
    own = model.state_dict(keep_vars=True)
    beside = {
        f'{prefix}.{name}'
        for prefix, module in model.named_modules()
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        for name, _ in module.named_buffers(recurse=False)
    }
    return [name for name, tensor in own.items() if tensor.requires_grad or name in beside]


def write_base(weights: Mapping[str, Tensor], learnt: Collection[str], folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    kept = set(learnt)
    coded = tuple(name.removesuffix('weight') for name, tensor in weights.items() if is_code(name, tensor))
    samples = {
        name: sample(tensor)
        for name, tensor in weights.items()
        # Beside the codes of a layer lie their scales, which no other form of the same base has.
        if name not in kept and tensor.is_floating_point() and not name.startswith(coded)
    }
    save_file(samples, str(Path(folder, BASE_SAMPLE)), metadata={'format': 'pt'})


def is_code(name: str, tensor: Tensor) -> bool:
    """Whether it is the weight of a layer in 4 or 8 bits."""
    return name.endswith('.weight') and not tensor.is_floating_point()


def sample(tensor: Tensor) -> Tensor:
    """Up to `SAMPLED` values of a tensor, evenly spread, float32 on the CPU."""
    flat = tensor.detach().reshape(-1)
    count = min(SAMPLED, len(flat))
    # Whole numbers: those of float32 end at 2 ** 24, below the size of an embedding.
    places = torch.arange(count, device=flat.device) * (len(flat) - 1) // max(1, count - 1)
    return flat[places].float().cpu()


def check_kind(folder: str, adapted: bool) -> None:
    """ValueError where a folder of adapters meets a model without, or the other way round."""
    holds_adapters = Path(folder, BASE_SAMPLE).is_file()
    if holds_adapters and not adapted:
        raise ValueError(
            f'{folder} holds adapters alone, not a whole model; name it in model_args.adapter, beside the base and the '
            'lora=dict(...) it was trained with, or merge it first with tools/convert_checkpoint.py'
        )
    if adapted and not holds_adapters:
        raise ValueError(
            f'{folder} holds a whole model, and this one has adapters; name it in model_args.model_name_or_path'
        )


def agree(then: Tensor, now: Tensor) -> bool:
    """Whether two samples of one size are of the same weights; a NaN agrees with nothing."""
    return bool(((then - now).abs() <= TOLERANCE * then.abs().amax()).all()) if len(then) else True


def check_base(weights: Mapping[str, Tensor], folder: str) -> None:
    """ValueError unless the adapters of `folder` were learnt over `weights`. Quantised weights are not compared."""
    faults = []
    for name, then in load_file(Path(folder, BASE_SAMPLE)).items():
        tensor = weights.get(name)
        if tensor is None:
            faults.append(f'{name} is missing')
        elif tensor.is_floating_point():
            now = sample(tensor)
            if then.shape != now.shape:
                faults.append(f'{name} has another size')
            elif not agree(then, now):
                faults.append(f'{name} has other values')
    if faults:
        more = f', ... ({len(faults)} in all)' if len(faults) > 5 else ''
        raise ValueError(
            f'the adapters in {folder} were learnt over another base than this model: {", ".join(faults[:5])}{more}. '
            f'Give the model_args they were trained with; parts with drawn weights also need its --seed'
        )
