"""Before stage 1 of a sample's way: how alike classes are, by their names and images, in a vision-language encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mllm.utils.image_io import load_image

TEXT, CROSS, IMAGE = 0.5, 0.8, 0.5
"""Weights of name with name, image with name (both ways), image with image: those of the published files."""
BATCH = 64


class Encoder:
    """A model of two halves, such as CLIP, that transformers loads from a folder or by its name on the hub."""

    def __init__(self, path: str) -> None:
        import torch
        from transformers import AutoModel, AutoProcessor

        try:
            self.processor = AutoProcessor.from_pretrained(path)
            self.model = AutoModel.from_pretrained(path).eval()
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f'encoder={path!r} cannot be loaded ({str(error).strip()}); write --set encoder=DIR with a folder in '
                'the Hugging Face layout that holds a vision-language model and its processor'
            ) from error
        halves = ('get_text_features', 'get_image_features')
        if not all(callable(getattr(self.model, half, None)) for half in halves):
            raise ValueError(f'encoder={path!r} has no features of texts and images; CLIP and SigLIP have')
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model.to(self.device)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [n, d]"""
        return self.features('get_text_features', text=list(texts), padding='max_length', truncation=True)

    def images(self, paths: Sequence[str], folder: Path) -> np.ndarray:
        """float64 [n, d]"""
        return self.features('get_image_features', images=[load_image(path, str(folder)) for path in paths])

    def features(self, half: str, **inputs: Any) -> np.ndarray:
        import torch

        with torch.inference_mode():
            found = getattr(self.model, half)(**self.processor(return_tensors='pt', **inputs).to(self.device))
        features = found if isinstance(found, torch.Tensor) else found.pooler_output
        return features.double().cpu().numpy()


def class_similarity(
    encoder: Encoder,
    names: Sequence[str],
    images: Sequence[Sequence[str]],
    folder: Path,
    advance: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """float64 [n, n]: how alike the classes are. `images` are paths of each class; its image feature is their mean.

    `advance` is called for every batch of images.
    """
    means = []
    for paths in images:
        sums = np.zeros(1)
        for start in range(0, len(paths), BATCH):
            sums = sums + encoder.images(paths[start : start + BATCH], folder).sum(0)
            advance()
        means.append(sums / len(paths))
    texts = [encoder.texts(names[start : start + BATCH]) for start in range(0, len(names), BATCH)]
    return combined(unit(np.concatenate(texts)), unit(np.stack(means)))


def combined(texts: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Similarities [n, n] from features [n, d] of length 1."""
    cross = images @ texts.T
    return TEXT * (texts @ texts.T) + CROSS * (cross + cross.T) + IMAGE * (images @ images.T)


def unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=-1, keepdims=True)
