"""Stage 9 of a sample's way, before training: which implementation of attention `model_args.attn_implementation` gives.

None                the model's own choice, sdpa where it has that
eager, sdpa         run anywhere
flex_attention      runs anywhere, learns on GPUs only
flash_attention_2   needs a GPU, the package flash-attn, and compute capability 8.0 (Ampere) or above
"""

from __future__ import annotations

import torch
from transformers.utils import is_flash_attn_2_available

from mllm.models.arguments import AttentionName
from mllm.utils.log import get_logger

logger = get_logger(__name__)

FLASH: AttentionName = 'flash_attention_2'
FLASH_CAPABILITY = (8, 0)


def choose_attention(name: AttentionName | None) -> AttentionName | None:
    """What to give transformers as `attn_implementation`. Every family asks here.

    On older GPUs flash attention becomes sdpa, whose kernels are as sparing with memory, with a notice. ValueError
    where flash attention cannot run at all.
    """
    if name != FLASH:
        return name
    wanted = f'model_args.attn_implementation={FLASH!r}'
    if not torch.cuda.is_available():
        raise ValueError(f"{wanted} needs a GPU, and PyTorch sees none here; write 'sdpa'")
    capability = torch.cuda.get_device_capability()
    if capability < FLASH_CAPABILITY:
        logger.warning(
            '%s has compute capability %d.%d and flash attention needs %d.%d: memory-efficient sdpa is used instead',
            torch.cuda.get_device_name(),
            *capability,
            *FLASH_CAPABILITY,
        )
        return 'sdpa'
    if not is_flash_attn_2_available():
        raise ValueError(
            f'{wanted} needs the package flash-attn 2.3.3 or later, which is not installed; '
            "`pip install flash-attn --no-build-isolation`, or write 'sdpa'"
        )
    return FLASH
