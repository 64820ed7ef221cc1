"""Stage 9 of a sample's way, training batches without an image: the parts for images take part all the same.

With several processes, a rank that skips them while others use them hangs: its gradients (DDP) or its share of
their weights (FSDP) never come.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

OF_TOWER = ('last_hidden_state', 'hidden_states', 'attentions')
"""What comes from the tower itself beside the features, and may have passed layers that features do not."""


def take_part_without_images(model: PreTrainedModel, blank: Mapping[str, Tensor]) -> None:
    """In training, add 0 times the features of an image, `blank`, to the output of a batch without one.

    The inner model is hooked, which is called as a module under adapters too. ValueError for a model whose images are
    no part of the sequence.
    """
    inner: Any = model.base_model
    features = getattr(inner, 'get_image_features', None)
    if features is None:
        raise ValueError(f'{type(model).__name__} puts no features of images into its sequence, as models here must')
    known = inspect.signature(features).parameters
    arguments = {name: tensor for name, tensor in blank.items() if name in known}
    inner.register_forward_hook(partial(add_nothing, blank=arguments), with_kwargs=True)


def add_nothing(model: Any, args: Any, kwargs: dict[str, Any], output: Any, blank: Mapping[str, Tensor]) -> Any:
    if not model.training or kwargs.get('pixel_values') is not None:
        return output
    inputs = {
        name: tensor.to(model.device, model.dtype if tensor.is_floating_point() else None)
        for name, tensor in blank.items()
    }
    outputs = model.get_image_features(**inputs, return_dict=True)
    features = [value for name, value in outputs.items() if name not in OF_TOWER]
    nothing = sum(0 * tensor.sum() for tensor in floats(features))
    output.last_hidden_state = output.last_hidden_state + nothing
    return output


def floats(features: Any) -> Iterator[Tensor]:
    """All tensors of numbers in what a model gives for images: a tensor, or a structure of them."""
    if isinstance(features, Tensor):
        if features.is_floating_point():
            yield features
    elif isinstance(features, Mapping | Sequence):
        for part in features.values() if isinstance(features, Mapping) else features:
            yield from floats(part)
