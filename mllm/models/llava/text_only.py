"""Stage 9 of a sample's way, training batches without an image: tower and projector take part all the same.

With several processes, a rank that skips them while others use them hangs: its gradients (DDP) or its share of
their weights (FSDP) never come.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers.models.llava.modeling_llava import LlavaModel


def take_part_without_images(model: LlavaModel, side: int) -> None:
    """In training, add 0 times the features of a blank image [3, side, side] to the output of a batch without one."""
    model.register_forward_hook(partial(add_nothing, side=side), with_kwargs=True)


def add_nothing(model: Any, args: Any, kwargs: dict[str, Any], output: Any, side: int) -> Any:
    if not model.training or kwargs.get('pixel_values') is not None:
        return output
    training = model.vision_tower.training
    # A blank image may not enter the statistics of batch norms.
    model.vision_tower.eval()
    blank = torch.zeros(1, 3, side, side, dtype=model.dtype, device=model.device)
    features = torch.cat(model.get_image_features(blank).pooler_output)
    model.vision_tower.train(training)
    output.last_hidden_state = output.last_hidden_state + 0 * features.sum()
    return output
