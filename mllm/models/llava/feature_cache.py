"""Stage 9 of a sample's way, for frozen towers: an image's features are computed once and found again by content.

    pixels [B, 3, H, W] -> key of each image -> store (memory, or memory over a folder) -> features [B, ...]

Images that the store lacks go through the tower in chunks of one fixed size, so that an image's features are the same
bits whatever batch it came in: a resumed run must not differ from an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from mllm.models.freeze import is_frozen
from mllm.utils.weight_files import read_file

CHUNK = 32
"""Images per pass through the tower."""

MEMORY_BYTES = 2 * 2**30
"""Features kept in memory; those used least recently go first."""


class FeatureStore:
    """Features by key: in memory up to a number of bytes, and, with a folder, on disk across runs."""

    def __init__(self, folder: Path | None = None, limit: int = MEMORY_BYTES) -> None:
        self.folder = folder
        self.limit = limit
        self.size = 0
        self.features: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str) -> Tensor | None:
        if key in self.features:
            self.features.move_to_end(key)
            return self.features[key]
        path = self.path(key)
        if path is None or not path.is_file():
            return None
        return self.remember(key, read_file(path)['features'])

    def put(self, key: str, features: Tensor) -> None:
        self.remember(key, features)
        path = self.path(key)
        if path is not None and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Several ranks may write the same features; the rename makes each file whole.
            part = path.with_suffix(f'.{uuid.uuid4().hex}.part')
            save_file({'features': features}, part)
            part.replace(path)

    def path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / key[:2] / f'{key}.safetensors'

    def remember(self, key: str, features: Tensor) -> Tensor:
        self.features[key] = features
        self.size += features.nbytes
        while self.size > self.limit and len(self.features) > 1:
            _, oldest = self.features.popitem(last=False)
            self.size -= oldest.nbytes
        return features


class CachedTower:
    """Stands in for a frozen tower's `forward`; counts `hits` and `misses` in images."""

    def __init__(self, tower: PreTrainedModel, layer: int, where: str) -> None:
        self.tower = tower
        self.tower_forward = tower.forward
        self.layer = layer
        self.where = where
        self.hits = 0
        self.misses = 0

    @cached_property
    def store(self) -> FeatureStore:
        """Made at the first image: until then a checkpoint may still be loaded into the tower."""
        return FeatureStore(None if self.where == 'memory' else Path(self.where) / fingerprint(self.tower, self.layer))

    def __call__(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        keys = [content_key(image) for image in pixel_values.detach().to('cpu', torch.float32)]
        first = {key: keys.index(key) for key in keys}
        found = {key: self.store.get(key) for key in first}
        missing = [key for key, features in found.items() if features is None]
        self.misses += len(missing)
        self.hits += len(keys) - len(missing)
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            images = pixel_values[[first[key] for key in chunk]]
            for key, features in zip(chunk, self.compute(images, kwargs), strict=True):
                found[key] = features
                self.store.put(key, features)
        features = torch.stack([found[key] for key in keys]).to(pixel_values.device)  # type: ignore[misc]
        # LlavaModel reads one of the hidden states, by its number.
        return BaseModelOutputWithPooling(last_hidden_state=features, hidden_states={self.layer: features})  # type: ignore[arg-type]

    @torch.no_grad()
    def compute(self, images: Tensor, kwargs: dict[str, Any]) -> Sequence[Tensor]:
        """Features of at most `CHUNK` images, each with memory of its own.

        In the tower's own precision whatever the run's: other runs may read them.
        """
        padding = images.new_zeros((CHUNK - len(images), *images.shape[1:]))
        with torch.autocast(images.device.type, enabled=False):
            outputs = self.tower_forward(torch.cat([images, padding]).to(self.tower.dtype), **kwargs)
        features = outputs.hidden_states[self.layer]
        return [row.clone() for row in features[: len(images)].cpu()]


def content_key(image: Tensor) -> str:
    """A name for the pixels of an image, float32 [3, H, W] on the CPU."""
    data = image.contiguous().numpy().tobytes()
    return hashlib.blake2b(data + str(tuple(image.shape)).encode(), digest_size=16).hexdigest()


def fingerprint(tower: PreTrainedModel, layer: int) -> str:
    """A name for a tower's shape and weights and the layer that is read: others' features must not be found."""
    config = {key: value for key, value in tower.config.to_dict().items() if key != '_name_or_path'}
    digest = hashlib.blake2b(json.dumps([layer, config], sort_keys=True, default=str).encode(), digest_size=16)
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def cache_features(tower: PreTrainedModel, layer: int | list[int], where: str) -> CachedTower:
    """Replace the `forward` of a frozen tower by one with a cache: 'memory', or a folder.

    Names in the state dict do not change. ValueError if the tower learns, or if several of its layers are read.
    """
    if not is_frozen(tower):
        raise ValueError(
            f'model_args.feature_cache={where!r}, but the vision tower learns; freeze all of it or leave this out'
        )
    if not isinstance(layer, int):
        raise ValueError(
            f'model_args.feature_cache={where!r} keeps one layer, and this model reads {layer}; leave it out'
        )
    cached = CachedTower(tower, layer, where)
    tower.forward = cached  # type: ignore[method-assign]
    return cached
