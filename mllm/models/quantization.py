"""Stage 9 of a sample's way, before training: a language model whose weights are held in 4 or 8 bits (QLoRA).

    from_pretrained(path, **quantized(args, keep=[...]))   linear layers are quantised as they are read, but `keep`
    prepare_model(model, args, ...)                        marks the model, so that adapters know what they stand beside

bitsandbytes does both. Layers compute in `args.dtype`. Image encoder, projector, embeddings and head stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.integrations.bitsandbytes import validate_bnb_backend_availability
from transformers.utils import is_bitsandbytes_available

from mllm.models.arguments import ModelArguments

HEAD = 'lm_head'


def quantized(args: ModelArguments, keep: Sequence[str] = (HEAD,)) -> dict[str, Any]:
    """Arguments for `from_pretrained`, none without `args.quantization`; `keep` names modules that stay as they are.

    ValueError where bitsandbytes is missing or does not work on this machine.
    """
    if args.quantization is None:
        return {}
    check_bitsandbytes()
    if args.quantization['bits'] == 8:
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=[*keep])
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            llm_int8_skip_modules=[*keep],
            bnb_4bit_compute_dtype=getattr(torch, args.dtype),
            bnb_4bit_quant_type=args.quantization.get('kind', 'nf4'),
            bnb_4bit_use_double_quant=args.quantization.get('double', True),
        )
    return {'quantization_config': config}


def check_bitsandbytes() -> None:
    if not is_bitsandbytes_available():
        raise ValueError(
            'model_args.quantization needs the package bitsandbytes, which is not installed; `pip install bitsandbytes`'
        )
    try:
        validate_bnb_backend_availability(raise_exception=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise ValueError(
            f'model_args.quantization: bitsandbytes does not work on this machine ({error}); leave quantization out'
        ) from error


def refuse_quantization(args: ModelArguments, reason: str) -> None:
    """ValueError where a model that a config describes cannot be quantised."""
    if args.quantization is not None:
        raise ValueError(f'model_args.quantization: {reason}')


def mark_quantized(model: PreTrainedModel, bits: int) -> None:
    """What peft and accelerate ask about a model, set on the whole model, whichever part of it was quantised.

    What transformers notes is taken off: its Trainer would refuse a model that has adapters but is no peft model, and
    saved configs would say that weights are quantised where only adapters lie.
    """
    setattr(model, f'is_loaded_in_{bits}bit', True)
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            vars(module).pop('hf_quantizer', None)
            vars(module.config).pop('quantization_config', None)
