"""Train the image encoder of the emoji scenes: `python tools/tiny_llava/train_scene_encoder.py [--steps 400]`.

What CLIP is to LLaVA: a tower that knows what stands where before the language model learns to say it. Every feature of
its grid is to name the thing that covers it, by the nearest word embedding, and to tell how far the sides of that
thing's box are. Needs the training scenes of tools/emoji/build_scenes.py alone. Writes data/tiny_llava/scenes:
    tokenizer.json, tokenizer_config.json    one token per word of the scenes' questions and answers
    vision/                                  the tower and its image processor
    adapter.safetensors                      the projector 'grid', and the word embeddings that it was trained with
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent), str(ROOT / 'tools' / 'emoji')]

import numpy as np
import scene_rows  # pyright: ignore[reportMissingImports]
import scenes  # pyright: ignore[reportMissingImports]
import torch
import torch.nn.functional as F
from build_tokenizer import build_tokenizer
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file
from scene_words import scene_phrases
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerBase, ResNetConfig, ResNetModel

from mllm.grounding.formatter import TokenFormatter
from mllm.models.tokens import add_tokens
from mllm.utils.image_io import load_image
from mllm.utils.line_file import LineFile

HIDDEN, WIDTH, BINS = 96, 128, 33
TOWER = {
    'embedding_size': 32,
    'hidden_sizes': [32, 64, WIDTH],
    'depths': [1, 1, 1],
    'layer_type': 'basic',
    'hidden_act': 'relu',
    'downsample_in_first_stage': False,
    'hidden_size': WIDTH,  # not ResNet's own: LLaVA asks every vision config for it
}
STRIDE = 16
"""Pixels between two features of the tower."""
GRID = scenes.SIDE // STRIDE
SHARPNESS = 12.0
"""Factor of the cosine between a feature and a word."""
ANCHORS = 7
"""Coordinates whose embeddings are drawn; those between are interpolated."""
OWN = 0.3
"""What is drawn for each coordinate alone, relative to what it shares with its neighbours."""
BATCH, LEARNING_RATE, WEIGHT_DECAY, WARMUP = 64, 3e-3, 0.05, 30
REACH = 2
"""A feature belongs to a thing if its centre is in the thing's box, or at most so many pixels outside."""


@dataclass(frozen=True)
class Cells:
    """Images uint8 [N, 3, S, S]; of each feature the name's number [N, G * G] (-1: background) and the sides of its
    box, as distances from its centre in strides [N, G * G, 4].
    """

    images: Tensor
    names: Tensor
    sides: Tensor


def load_cells(folder: Path, split: str) -> Cells:
    """What each feature of a split's images has to tell."""
    numbers = {name: number for number, name in enumerate(sorted(scenes.NAMES))}
    rows = LineFile(str(folder / f'point_qa_{split}.jsonl'))
    things: dict[str, list[tuple[int, list[int]]]] = {}
    for row in (rows[number] for number in range(len(rows))):
        if row['answer'] in numbers:
            things.setdefault(row['file_path'], []).append((numbers[row['answer']], row['bbox']))
    images = [np.asarray(load_image(path, str(folder / 'images.zip'))) for path in things]
    targets = [cell_targets(entries) for entries in things.values()]
    return Cells(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        names=torch.stack([names for names, _ in targets]),
        sides=torch.stack([sides for _, sides in targets]),
    )


def cell_targets(things: list[tuple[int, list[int]]]) -> tuple[Tensor, Tensor]:
    """Names [G * G] and sides [G * G, 4] of one image's features."""
    y, x = torch.meshgrid(*[(torch.arange(GRID) + 0.5) * STRIDE] * 2, indexing='ij')
    centres = torch.stack([x, y, x, y], dim=-1).view(-1, 4)
    names, sides = torch.full((GRID**2,), -1), torch.zeros(GRID**2, 4)
    for number, box in things:
        distances = torch.tensor(box) - centres
        inside = (distances[:, :2] < REACH).all(1) & (distances[:, 2:] > -REACH).all(1)
        names[inside], sides[inside] = number, distances[inside] / STRIDE
    return names, sides


class Encoder(nn.Module):
    """Tower and projector: pixels [N, 3, S, S] -> logits of background and names, and sides, of every feature."""

    words: Tensor

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        self.tower = ResNetModel(ResNetConfig.from_dict(TOWER))
        self.norm = nn.BatchNorm1d(WIDTH, affine=False)
        self.linear = nn.Linear(WIDTH, HIDDEN)
        self.head = nn.Linear(HIDDEN, 5)
        self.register_buffer('words', F.normalize(words, dim=-1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.tower(pixels).last_hidden_state.flatten(2).transpose(1, 2)
        projected = self.linear(self.norm(features.reshape(-1, WIDTH))).view(len(pixels), -1, HIDDEN)
        background, sides = self.head(projected).split([1, 4], dim=-1)
        return torch.cat([background, SHARPNESS * F.normalize(projected, dim=-1) @ self.words.T], dim=-1), sides


def encoder_loss(encoder: Encoder, cells: Cells, rows: Tensor) -> Tensor:
    logits, sides = encoder(cells.images[rows].float() / 127.5 - 1)
    names, covered = cells.names[rows], cells.names[rows] >= 0
    return F.cross_entropy(logits.flatten(0, 1), names.flatten() + 1) + F.l1_loss(
        sides[covered], cells.sides[rows][covered]
    )


def train(cells: Cells, words: Tensor, steps: int, console: Console) -> Encoder:
    """The trained encoder, in eval mode. `words` [names, HIDDEN] stay as they are."""
    encoder = Encoder(words).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    for step in track(range(steps), 'training', console=console, transient=True):
        loss = encoder_loss(encoder, cells, torch.randint(len(cells.images), (BATCH,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            console.print(f'step {step + 1}/{steps}  loss {loss.item():.3f}')
    return encoder.eval()


@torch.no_grad()
def report(encoder: Encoder, cells: Cells) -> str:
    """How well features on unseen layouts tell what covers them, and where its sides are."""
    logits, sides = zip(*(encoder(part.float() / 127.5 - 1) for part in cells.images.split(100)), strict=True)
    covered = cells.names >= 0
    named = torch.cat(logits)[..., 1:].argmax(-1)[covered] == cells.names[covered]
    error = (torch.cat(sides)[covered] - cells.sides[covered]).abs().mean() * STRIDE
    return f'features on things: {named.float().mean():.3f} name theirs, sides are {error:.1f} pixels off'


def curve(points: int) -> Tensor:
    """A random smooth curve: [points, HIDDEN], of unit variance at its anchors."""
    anchors = torch.randn(1, HIDDEN, ANCHORS)
    return F.interpolate(anchors, size=points, mode='linear', align_corners=True)[0].T


def start_words(tokenizer: PreTrainedTokenizerBase, places: Tensor) -> Tensor:
    """Word embeddings [vocabulary, HIDDEN] to start from: random, but neighbouring coordinates are alike, and so are
    one thing and several of it. `places` [BINS, HIDDEN] is the curve of the coordinates.
    """
    words = torch.randn(len(tokenizer), HIDDEN)
    ids = tokenizer.get_vocab()
    for number, place in enumerate(places):
        words[ids[f'<bin_{number}>']] *= OWN
        words[ids[f'<bin_{number}>']] += place
    for name in scenes.NAMES:
        one, many = ids[f' {name}'], ids[f' {scene_rows.plural(name)}']
        words[many] = words[one] + OWN * words[many]
    return words * HIDDEN**-0.5


def start_positions(across: Tensor, down: Tensor) -> Tensor:
    """What the places of the grid add [G * G, HIDDEN]: where their centres are on the curves across and down."""
    centres = [round((number + 0.5) / GRID * (BINS - 1)) for number in range(GRID)]
    return (across[centres][None] + down[centres][:, None]).reshape(-1, HIDDEN) / math.sqrt(2)


def scene_tokenizer() -> PreTrainedTokenizerBase:
    names = sorted(scenes.NAMES)
    return build_tokenizer(scene_phrases(names, map(scene_rows.plural, names), scene_rows.CLOSE))


def save(encoder: Encoder, words: Tensor, positions: Tensor, out: Path) -> None:
    """Write the weights named in the module's docstring."""
    encoder.tower.save_pretrained(out / 'vision')
    half = [0.5] * 3
    size = {'height': scenes.SIDE, 'width': scenes.SIDE}
    processor = CLIPImageProcessorPil(
        size={'shortest_edge': scenes.SIDE}, crop_size=size, image_mean=half, image_std=half
    )
    processor.save_pretrained(out / 'vision')
    norm = encoder.norm
    adapter = {
        'mean': norm.running_mean,
        'std': (norm.running_var + norm.eps).sqrt(),  # type: ignore[operator]
        'linear.weight': encoder.linear.weight,
        'linear.bias': encoder.linear.bias,
        'position': positions,
        'embed_tokens.weight': words,
    }
    save_file({name: value.detach().contiguous() for name, value in adapter.items()}, out / 'adapter.safetensors')


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Train the image encoder of the emoji scenes.')
    parser.add_argument('--data', type=Path, default=ROOT / 'data' / 'emoji_scenes')
    parser.add_argument('--out', type=Path, default=ROOT / 'data' / 'tiny_llava' / 'scenes')
    parser.add_argument('--steps', type=int, default=400)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    console, start = Console(), time.time()
    tokenizer = scene_tokenizer()
    tokenizer.save_pretrained(args.out)
    add_tokens(tokenizer, TokenFormatter(BINS).special_tokens())
    across, down = curve(BINS), curve(BINS)
    words = start_words(tokenizer, across)
    named = words[[tokenizer.get_vocab()[f' {name}'] for name in sorted(scenes.NAMES)]]
    encoder = train(load_cells(args.data, 'train'), named, args.steps, console)
    console.print(report(encoder, load_cells(args.data, 'val')))
    save(encoder, words, start_positions(across, down), args.out)
    console.print(f'{args.out}: tokenizer, vision/ and adapter.safetensors, after {time.time() - start:.0f} s')


if __name__ == '__main__':
    main()
