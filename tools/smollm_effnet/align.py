"""Stage 5 of the small pretrained model: where its projector starts, computed from train concepts only.

An ImageNet tower tells art styles apart as readily as concepts. Linear discriminant analysis keeps the directions in
which concepts differ more than renderings of one concept do, and scales them so that styles are equally loud in all:

    features [N, 320, H, W] -> standardised, averaged -> `dim` discriminants, unit length, standardised -> embeddings

All of it fits the projector 'pool'. The last map, the only part that learns, starts as the rotation under which images
come closest to the words of their concepts' names, around the mean of all words and as far from it as words are: what
a language model was never shown it compares badly, and no two words differ by what all words share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoModelForCausalLM, AutoTokenizer

from mllm.models.llava.images import ImageEncoder
from mllm.utils.image_io import load_image
from mllm.utils.line_file import LineFile

DIM = 128
SHRINKAGE = 0.3
"""Share of a multiple of the identity in the covariance within concepts: there are few renderings of each."""
BATCH = 32


def read_concepts(pairs: str, images: str) -> tuple[list[Image.Image], Tensor, list[str]]:
    """Every rendering in a pair file once, the number of its concept [N], and the concepts' names."""
    lines = LineFile(pairs)
    rows = [lines[number] for number in range(len(lines))]
    members = [(number, path) for number, row in enumerate(rows) for path in dict.fromkeys(row['samples'])]
    concept = torch.tensor([number for number, _ in members])
    return [load_image(path, images) for _, path in members], concept, [row['class_name'] for row in rows]


@torch.no_grad()
def read_features(vision: Path, images: Sequence[Image.Image]) -> Tensor:
    """Last hidden state of the tower for each image, [N, C, H, W]."""
    tower = AutoModel.from_pretrained(vision).eval()
    encoder = ImageEncoder(AutoImageProcessor.from_pretrained(vision, backend='pil'))
    pixels = (encoder.pixels(images[start : start + BATCH]) for start in range(0, len(images), BATCH))
    return torch.cat([tower(part, output_hidden_states=True).hidden_states[-1].clone() for part in pixels])


def discriminants(points: Tensor, concept: Tensor, dim: int, shrinkage: float = SHRINKAGE) -> Tensor:
    """[N, C] standardised features and their concepts [N] -> a map [C, dim] under which concepts lie apart.

    The covariance within concepts becomes (about) the identity, and the `dim` directions are those in which the means
    of concepts vary most. ValueError unless `dim` is at most C and below the number of concepts.
    """
    means = torch.stack([points[concept == number].mean(0) for number in range(int(concept.max()) + 1)])
    if not 0 < dim <= min(points.shape[1], len(means) - 1):
        raise ValueError(f'{dim} discriminants of {points.shape[1]} features and {len(means)} concepts')
    rest = points - means[concept]
    within = rest.T @ rest / len(points)
    round_ = torch.eye(len(within)) * within.trace() / len(within)
    values, vectors = torch.linalg.eigh((1 - shrinkage) * within + shrinkage * round_)
    whiten = vectors @ torch.diag(values.clamp(min=1e-6).rsqrt()) @ vectors.T
    _, directions = torch.linalg.eigh(torch.cov((means @ whiten).T))
    return whiten @ directions[:, -dim:]


def align(features: Tensor, concept: Tensor, names: Tensor, words: Tensor, dim: int) -> dict[str, Tensor]:
    """Weights of a 'pool' projector of one token.

    features [N, C, H, W] of images of `concept` [N]; embeddings `names` [concepts, D] and those of all `words` [V, D].
    """
    # LayerNorm comes first in the projector; its own scale and shift then standardise.
    normed = F.layer_norm(features.flatten(2).transpose(1, 2), (features.shape[1],)).mean(1)
    mean, std = normed.mean(0), normed.std(0).clamp(min=1e-6)
    chosen = discriminants((normed - mean) / std, concept, dim)
    unit = F.normalize((normed - mean) / std @ chosen, dim=-1)
    points = (unit - unit.mean(0)) / unit.std(0)
    middle = words.mean(0)
    loudness = (words - middle).norm(dim=1).mean() / dim**0.5
    weights = {
        'pool.norm.weight': 1 / std,
        'pool.norm.bias': -mean / std,
        'pool.proj.weight': chosen.T,
        'pool.mean': unit.mean(0),
        'pool.std': unit.std(0),
        'linear.weight': rotation(points, (names - names.mean(0))[concept]) * loudness,
        'linear.bias': middle,
    }
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def rotation(points: Tensor, targets: Tensor) -> Tensor:
    """The matrix [D, d] with orthonormal columns that takes points [N, d] closest to targets [N, D] (Procrustes)."""
    left, _, right = torch.linalg.svd(targets.T @ points, full_matrices=False)
    return left @ right


@torch.no_grad()
def convert(vision: Path, llm: Path, data: Path, target: Path) -> None:
    """Write the projector for the emoji concepts in `data` to `target`."""
    images, concept, titles = read_concepts(str(data / 'train_pairs.jsonl'), str(data / 'images.zip'))
    tokenizer = AutoTokenizer.from_pretrained(llm)
    embeddings: Any = AutoModelForCausalLM.from_pretrained(llm).get_input_embeddings()
    words = embeddings.weight
    names = torch.stack([words[tokenizer(f' {title}').input_ids].mean(0) for title in titles])
    save_file(align(read_features(vision, images), concept, names, words, DIM), target)
