"""Stage 3 of a sample's way, for supports by likeness: one vector for the image of each item, cached on disk.

    images of a source -> vision tower, mean over its places -> float32 [n, d] of length 1

The tower is any vision model that transformers loads; of a vision-language model its image half. Vectors are found
again by the weights of the tower and the content of the image, so a changed image or tower never meets an old vector.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mllm.dataset.source import Source
from mllm.registry import nearest
from mllm.types import images_of
from mllm.utils.files import replacing
from mllm.utils.log import get_logger, progress_bar
from mllm.utils.rng import ItemRng

if TYPE_CHECKING:
    from PIL import Image

logger = get_logger(__name__)

FIELDS = ('vision_tower', 'cache_dir', 'batch_size')


@dataclass(frozen=True)
class FeatureConfig:
    """vision_tower: a folder in the Hugging Face layout, or a name on its hub; cache_dir: where vectors are kept."""

    vision_tower: str
    cache_dir: str = '~/.cache/mllm/image_features'
    batch_size: int = 32

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> FeatureConfig:
        """From a config; ValueError for other fields, or a tower that is no path or name."""
        for key in cfg:
            if key not in FIELDS:
                raise ValueError(f'features: there is no {key!r}{nearest(str(key), FIELDS)}')
        if not isinstance(cfg.get('vision_tower'), str):
            raise ValueError(f'features: vision_tower is {cfg.get("vision_tower")!r}; expected the path of a model')
        return cls(**cfg)


def image_features(source: Source, cfg: FeatureConfig) -> np.ndarray:
    """float32 [len(source), d]: vectors of length 1, zeros for items without image."""
    keys = [source.image_key(index) for index in range(len(source))]
    first = {key: index for index, key in reversed(list(enumerate(keys))) if key is not None}
    vectors = dict(zip(first, compute([(source, index) for index in first.values()], cfg), strict=True))
    size = len(next(iter(vectors.values()))) if vectors else 1
    zero = np.zeros(size, np.float32)
    return np.array([zero if key is None else vectors[key] for key in keys], np.float32).reshape(len(keys), size)


def compute(items: Sequence[tuple[Source, int]], cfg: FeatureConfig) -> Iterator[np.ndarray]:
    """The vector of each item's first image, from the cache where it is there."""
    tower = Tower(cfg.vision_tower)
    folder = Path(cfg.cache_dir).expanduser() / tower.name
    with progress_bar() as progress:
        task = progress.add_task('image features', total=len(items))
        for start in range(0, len(items), cfg.batch_size):
            batch = [first_image(source, index) for source, index in items[start : start + cfg.batch_size]]
            paths = [folder / f'{content(image)}.npy' for image in batch]
            new = {path: image for path, image in zip(paths, batch, strict=True) if not path.is_file()}
            for path, vector in zip(new, tower(list(new.values())) if new else (), strict=True):
                save(path, vector)
            yield from map(np.load, paths)
            progress.advance(task, len(batch))


def first_image(source: Source, index: int) -> Image.Image:
    return images_of(source.episode(index, ItemRng(0, 0, index)).query)[0]


def content(image: Image.Image) -> str:
    """A name of an image by its pixels."""
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.convert('RGB').tobytes())
    return digest.hexdigest()


def save(path: Path, vector: np.ndarray) -> None:
    """Whole or not at all; several processes may write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, unique=True) as part, part.open('wb') as file:
        np.save(file, vector)


class Tower:
    """A vision model: images -> vectors of length 1. ValueError if it cannot be loaded or takes no images."""

    def __init__(self, path: str) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModel

        try:
            self.processor = AutoImageProcessor.from_pretrained(path, backend='pil')
            model = AutoModel.from_pretrained(path)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f'features: vision_tower={path!r} cannot be loaded; write a folder in the Hugging Face layout with '
                f'a model and its image processor ({str(error).strip()})'
            ) from error
        self.model = (getattr(model, 'vision_model', None) or getattr(model, 'vision_tower', None) or model).eval()
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.to(torch.float32).numpy().tobytes())
        self.name = f'{os.path.basename(os.path.normpath(path))}-{digest.hexdigest()}'

    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Images -> float32 [n, d]."""
        import torch

        pixels = self.processor(images=list(images), return_tensors='pt')['pixel_values']
        with torch.inference_mode():
            states = self.model(pixels).last_hidden_state
        # Feature maps [n, d, h, w] of convolutions, or [n, places, d] of transformers.
        pooled = states.flatten(2).mean(2) if states.dim() == 4 else states.mean(1)
        return torch.nn.functional.normalize(pooled.float(), dim=-1).numpy()
