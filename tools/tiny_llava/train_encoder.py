"""Train the tiny model's image encoder: `make encoder`, or `python tools/tiny_llava/train_encoder.py [--steps N ...]`.

It plays CLIP's part. A small Hugging Face ResNet learns, from train concepts only, to give renderings of one concept
by different art families the same direction (InfoNCE with several positives). Validation concepts only report how
well; test concepts are never read. Writes below --out:

    vision/config.json, model.safetensors     ResNetModel, last map [128, 2, 2] of a 32 x 32 image
    vision/preprocessor_config.json           CLIPImageProcessor
    projector.safetensors                     head: norm.weight, norm.bias, proj.weight; mean, std of its unit vectors
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mllm.utils.image_io import load_image
from mllm.utils.line_file import LineFile

IMAGE_SIZE = 32
WIDTH, FEATURES = 128, 64
TOWER = {
    'embedding_size': 32,
    'hidden_sizes': [32, 64, WIDTH],
    'depths': [1, 1, 1],
    'layer_type': 'basic',
    'hidden_act': 'relu',
    'downsample_in_first_stage': False,
    'hidden_size': WIDTH,  # not ResNet's own: LLaVA asks every vision config for it
}
TEMPERATURE = 0.07
CONCEPTS_PER_BATCH, VIEWS = 64, 3
HARD = 0.3
"""Share of a batch's concepts that bring about half of their neighbours with them."""
LEARNING_RATE, WEIGHT_DECAY, WARMUP, MAX_NORM = 3e-3, 0.3, 30, 5.0
AVERAGE = 0.98
"""Decay of the running average of the weights; the average is what is kept."""

SCALE, ROTATION, SHIFT, FLIP = (0.7, 1.05), math.radians(17), 0.12, 0.5
TINT, BRIGHTNESS = (0.8, 1.0), (0.85, 1.1)
COLOUR_DRIFT, HOLE = 0.15, 10  # mixing of channels; side of a blanked square, pixels


@dataclass(frozen=True)
class Renderings:
    """All images of one split: images uint8 [N, 3, H, W], concept [N], family [N], neighbours of each concept."""

    images: Tensor
    concept: np.ndarray
    family: np.ndarray
    neighbours: list[list[int]]

    def members(self, concept: int, without_family: str | None = None) -> np.ndarray:
        """Positions of a concept's images."""
        return np.flatnonzero((self.concept == concept) & (self.family != without_family))


def load_renderings(folder: Path, split: str) -> Renderings:
    """Read `{split}_pairs.jsonl`; the family of an image is the first part of its path."""
    lines = LineFile(str(folder / f'{split}_pairs.jsonl'))
    rows = [lines[number] for number in range(len(lines))]
    paths = [(number, path) for number, row in enumerate(rows) for path in dict.fromkeys(row['samples'])]
    position = {row['class_id']: number for number, row in enumerate(rows)}
    images = [np.asarray(load_image(path, str(folder / 'images.zip'))) for _, path in paths]
    return Renderings(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        concept=np.array([number for number, _ in paths]),
        family=np.array([path.split('/')[0] for _, path in paths]),
        neighbours=[[position[entry[0]] for entry in row['neighbors']] for row in rows],
    )


class Encoder(nn.Module):
    """Tower and head: pixels [N, 3, S, S] -> unit vectors [N, FEATURES]."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = ResNetModel(ResNetConfig.from_dict(TOWER))
        self.norm = nn.LayerNorm(WIDTH)
        self.proj = nn.Linear(WIDTH, FEATURES, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        grid = self.tower(pixels).last_hidden_state.flatten(2).transpose(1, 2)
        return F.normalize(self.proj(self.norm(grid).mean(1)), dim=-1)


def uniform(count: int, low: float, high: float, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 1, 1) * (high - low) + low


def augment(images: Tensor) -> Tensor:
    """Random scale, rotation, flip, shift, colours and a blanked square: uint8 [N, 3, H, W] -> pixels [N, 3, S, S]."""
    count = len(images)
    angle, scale = uniform(count, -ROTATION, ROTATION).flatten(), uniform(count, *SCALE).flatten()
    mirror = 1.0 - 2.0 * (torch.rand(count) < FLIP)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    shift = uniform(count, -SHIFT, SHIFT, 2).flatten(1)
    matrix = torch.stack([cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, [count, 3, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    # Ink is sampled rather than light: what is outside the image is 0, hence white.
    ink = F.grid_sample(1 - images.float() / 255, grid, align_corners=False)
    mix = torch.eye(3) + COLOUR_DRIFT * torch.randn(count, 3, 3)
    ink = torch.einsum('nij,njhw->nihw', mix / mix.sum(2, keepdim=True), ink)
    light = (1 - ink) * uniform(count, *TINT, channels=3) * uniform(count, *BRIGHTNESS)
    return torch.where(holes(count), 1.0, light.clamp(0, 1)) * 2 - 1


def holes(count: int) -> Tensor:
    """Masks bool [N, 1, S, S], true in a square somewhere."""
    place = torch.arange(IMAGE_SIZE)
    row, column = torch.randint(IMAGE_SIZE, (2, count, 1, 1, 1))
    return ((place[:, None] - row).abs() < HOLE // 2) & ((place - column).abs() < HOLE // 2)


def by_family(data: Renderings, concept: int) -> dict[str, np.ndarray]:
    members = data.members(concept)
    return {family: members[data.family[members] == family] for family in sorted(set(data.family[members]))}


def draw_concepts(data: Renderings, rng: np.random.Generator) -> list[int]:
    """The concepts of a batch: random ones, some of them with neighbours, so that fine differences count."""
    chosen: dict[int, None] = {}
    for concept in rng.permutation(len(data.neighbours)).tolist():
        near = data.neighbours[concept] if rng.random() < HARD else []
        chosen |= dict.fromkeys([concept, *(other for other in near if rng.random() < 0.5)])
        if len(chosen) >= CONCEPTS_PER_BATCH:
            break
    return list(chosen)[:CONCEPTS_PER_BATCH]


def draw_batches(data: Renderings, steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions [VIEWS * B] of images: B concepts, then the same B by other families, and so on."""
    families = [by_family(data, concept) for concept in range(len(data.neighbours))]
    for _ in range(steps):
        rows = []
        for concept in draw_concepts(data, rng):
            order = rng.permutation(list(families[concept]))
            rows.append([rng.choice(families[concept][order[view % len(order)]]) for view in range(VIEWS)])
        yield np.array(rows).T.reshape(-1)


def contrast_loss(features: Tensor) -> Tensor:
    """InfoNCE over unit vectors [VIEWS * B, D], row i being of concept i mod B: every other row of the concept is a
    positive in turn (the "out" form of supervised contrastive learning, Khosla et al. 2020)."""
    concept = torch.arange(len(features)) % (len(features) // VIEWS)
    itself = torch.eye(len(features), dtype=torch.bool)
    log_share = (features @ features.T / TEMPERATURE).masked_fill(itself, -1e4).log_softmax(dim=1)
    positive = (concept[:, None] == concept) & ~itself
    return -log_share[positive].mean()


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then cosine to zero, as a fraction of LEARNING_RATE."""
    return min((step + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * step / steps)))


def make_optimizer(encoder: Encoder) -> torch.optim.AdamW:
    matrices = [p for p in encoder.parameters() if p.dim() > 1]
    vectors = [p for p in encoder.parameters() if p.dim() <= 1]
    groups = [{'params': matrices, 'weight_decay': WEIGHT_DECAY}, {'params': vectors, 'weight_decay': 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE)


def train(data: Renderings, steps: int, seed: int, console: Console) -> Encoder:
    """The trained encoder, in eval mode, with averaged weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoder = Encoder().train()
    average = copy.deepcopy(encoder)
    optimizer = make_optimizer(encoder)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, steps))
    batches = track(draw_batches(data, steps, rng), 'training', total=steps, console=console)
    for step, positions in enumerate(batches):
        loss = contrast_loss(encoder(augment(data.images[torch.from_numpy(positions)])))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), MAX_NORM)
        optimizer.step()
        schedule.step()
        average_into(average, encoder, min(AVERAGE, step / (step + 10)))
        if (step + 1) % max(1, steps // 10) == 0:
            console.print(f'step {step + 1}/{steps}  loss {loss.item():.3f}')
    return average.eval()


@torch.no_grad()
def average_into(average: Encoder, encoder: Encoder, decay: float) -> None:
    """Move all weights and statistics of `average` towards `encoder`."""
    for kept, value in zip(average.state_dict().values(), encoder.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(value, 1 - decay)
        else:
            kept.copy_(value)


def image_processor() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(
        size={'shortest_edge': IMAGE_SIZE},
        crop_size={'height': IMAGE_SIZE, 'width': IMAGE_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


@torch.no_grad()
def encode(encoder: Encoder, images: Tensor) -> Tensor:
    """Unit vectors [N, FEATURES] of images uint8 [N, 3, H, W], through the image processor, without augmentation."""
    processor = image_processor()
    features = []
    for part in images.split(256):
        pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in part]
        features.append(encoder(processor(pictures, return_tensors='pt')['pixel_values']))
    return torch.cat(features)


def one_shot_accuracy(data: Renderings, features: Tensor, hard: bool, count: int = 4000, seed: int = 0) -> float:
    """Share of 2-way 1-shot questions that the nearer support answers; chance is 0.5.

    Supports are of other families than the query. `hard`: the other concept is one of the five nearest neighbours.
    """
    rng = np.random.default_rng(seed)
    right = asked = 0
    while asked < count:
        concept = int(rng.integers(len(data.neighbours)))
        near = data.neighbours[concept][:5]
        other = int(rng.choice(near)) if hard and near else int(rng.integers(len(data.neighbours)))
        query = int(rng.choice(data.members(concept)))
        supports = [data.members(c, without_family=data.family[query]) for c in (concept, other)]
        if concept == other or (hard and not near) or not all(map(len, supports)):
            continue
        same, different = (float(features[query] @ features[int(rng.choice(members))]) for members in supports)
        right, asked = right + (same > different), asked + 1
    return right / asked


def save(encoder: Encoder, features: Tensor, out: Path) -> None:
    """Write the files named in the module's docstring. `features` [N, FEATURES] are those of the train split."""
    encoder.tower.save_pretrained(out / 'vision')
    image_processor().save_pretrained(out / 'vision')
    head = {
        'norm.weight': encoder.norm.weight,
        'norm.bias': encoder.norm.bias,
        'proj.weight': encoder.proj.weight,
        'mean': features.mean(0),
        'std': features.std(0),
    }
    save_file({name: value.detach().contiguous() for name, value in head.items()}, out / 'projector.safetensors')


def report(encoder: Encoder, splits: dict[str, Renderings], console: Console) -> dict[str, Tensor]:
    """Print the table of 1-shot accuracies; return the features of each split."""
    table = Table('split', 'concepts', 'images', '1-shot', '1-shot, same subgroup', title='2-way, nearest support')
    features = {}
    for name, data in splits.items():
        features[name] = encode(encoder, data.images)
        scores = [f'{one_shot_accuracy(data, features[name], hard):.3f}' for hard in (False, True)]
        table.add_row(name, str(len(data.neighbours)), str(len(data.images)), *scores)
    console.print(table)
    return features


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the tiny model's image encoder on train concepts.")
    parser.add_argument('--data', type=Path, default=ROOT / 'data' / 'emoji')
    parser.add_argument('--out', type=Path, default=ROOT / 'data' / 'tiny_llava')
    parser.add_argument('--steps', type=int, default=1200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    console, start = Console(), time.time()
    splits = {name: load_renderings(args.data, name) for name in ('train', 'val')}
    encoder = train(splits['train'], args.steps, args.seed, console)
    features = report(encoder, splits, console)
    save(encoder, features['train'], args.out)
    console.print(f'{args.out}: vision/ and projector.safetensors, after {time.time() - start:.0f} s')


if __name__ == '__main__':
    main()
