"""How fast the data path is, without a model: samples per second, and the cost of a large annotation file.

python tools/benchmark/data.py [--samples 400] [--repeats 3] [--lines 1000000]

Pictures of noise and edges are made first. Cold: the operating system has forgotten the files (as far as it can be
asked to) and no image is cached; warm: right after. The repeats of all settings alternate; medians are shown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import psutil
from mmengine import Config
from PIL import Image, ImageFilter
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.models.builder import load_preprocessor
from mllm.registry import DATASETS
from mllm.types import Preprocessor
from mllm.utils import image_io
from mllm.utils.line_file import LineFile
from mllm.utils.log import console

ROOT = Path(__file__).resolve().parents[2]
SIZES = {'224 x 224': (224, 224), '640 x 480': (640, 480)}
WORKERS = (0, 1, 2)
SIDE = 224


@dataclass(frozen=True)
class Setting:
    """What is measured: the task, the size of its JPEGs, workers, and whether JPEGs are decoded at a reduced scale."""

    task: str
    size: str
    workers: int
    reduced: bool


def write_pictures(folder: Path, size: tuple[int, int], count: int) -> list[str]:
    rng = np.random.default_rng(0)
    names = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        image = small.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.UnsharpMask(3))
        names.append(f'{number}.jpg')
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / names[-1], quality=90)
    return names


def make_sources(folder: Path, count: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Configs of REC and of 4-shot episodes for each size of pictures."""
    sources = {}
    for name, size in SIZES.items():
        place = folder / name.replace(' ', '')
        rows = [
            {'img_path': path, 'expression': f'thing {n}', 'bbox': [10, 20, size[0] / 2, size[1] / 2]}
            for n, path in enumerate(write_pictures(place, size, count))
        ]
        (place / 'rec.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
        rec = {
            'type': 'RECDataset',
            'filename': str(place / 'rec.jsonl'),
            'image_folder': str(place),
            'template_file': str(ROOT / 'config/_base_/dataset/template/REC.json'),
        }
        sources['REC', name] = rec
        sources['4-shot', name] = {'type': 'FewShot', 'dataset': rec, 'shots': 4}
    return sources


def tiny_preprocessor() -> Preprocessor:
    """The tiny model's, with images of 224 pixels and prompts that hold five of them."""
    model = Config.fromfile(ROOT / 'config/_base_/model/tiny_llava.py').to_dict()['model_args']
    model |= {
        'vision_tower': {'model_type': 'clip_vision_model', 'image_size': SIDE, 'patch_size': 14, 'hidden_size': 32}
    }
    model['vision_tower'] |= {'num_hidden_layers': 1, 'num_attention_heads': 2}
    for key in ('projector', 'projector_args', 'pretrain_mm_mlp_adapter', 'mm_vision_select_feature'):
        model.pop(key)
    return load_preprocessor({**model, 'image_size': SIDE, 'model_max_length': 4096})


def forget(folder: Path) -> None:
    """Ask the operating system to drop the files from its cache, and drop ours."""
    image_io._cache.__init__(image_io.CACHE_BYTES)
    for path in folder.rglob('*.jpg'):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def samples_per_second(dataset: Dataset[Any], workers: int, count: int) -> float:
    loader = DataLoader(dataset, batch_size=8, num_workers=workers, collate_fn=len, persistent_workers=False)
    iterator = iter(loader)
    next(iterator)  # workers have started
    started, seen = time.perf_counter(), 0
    for size in itertools.islice(iterator, count // 8):
        seen += size
    return seen / (time.perf_counter() - started)


def measure(folder: Path, count: int, repeats: int) -> Iterator[tuple[Setting, str, float]]:
    """(setting, 'cold' or 'warm', samples per second) of every run."""
    sources, preprocessor = make_sources(folder, count + 8), tiny_preprocessor()
    settings = [
        Setting(task, size, workers, reduced)
        for (task, size), workers, reduced in itertools.product(sources, WORKERS, (False, True))
        if not reduced or size != '224 x 224'
    ]
    for _ in range(repeats):
        for setting in settings:
            data = SingleImageConvDataset(
                DATASETS.build(sources[setting.task, setting.size]),
                preprocessor,
                training=True,
                decode_side=SIDE if setting.reduced else None,
            )
            forget(folder)
            yield setting, 'cold', samples_per_second(data, setting.workers, count)
            yield setting, 'warm', samples_per_second(data, setting.workers, count)


def speed_table(found: list[tuple[Setting, str, float]]) -> Table:
    table = Table(
        'task', 'JPEGs', 'decoding', 'workers', 'cold', 'warm', title='samples per second', title_justify='left'
    )
    for setting in dict.fromkeys(setting for setting, _, _ in found):
        medians = [
            statistics.median(value for other, state, value in found if (other, state) == (setting, wanted))
            for wanted in ('cold', 'warm')
        ]
        decoding = 'reduced' if setting.reduced else 'whole'
        table.add_row(
            setting.task, setting.size, decoding, str(setting.workers), *(f'{value:,.0f}' for value in medians)
        )
    return table


class Lines(Dataset):
    """Rows of a file, and what the process that reads them holds for itself."""

    def __init__(self, path: str) -> None:
        self.rows = LineFile(path)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        _ = self.rows[index]
        return psutil.Process().memory_full_info().uss


def large_file(folder: Path, lines: int) -> Table:
    path = folder / 'large.jsonl'
    with path.open('w') as file:
        for number in range(lines):
            row = {'img_path': f'COCO_{number:012d}.jpg', 'expression': f'thing {number}', 'bbox': [1, 2, 3, 4]}
            file.write(json.dumps(row) + '\n')
    before = psutil.Process().memory_full_info().uss
    started = time.perf_counter()
    data = Lines(str(path))
    seconds = time.perf_counter() - started
    own = psutil.Process().memory_full_info().uss - before
    order = np.random.default_rng(0).permutation(lines)[:4000].tolist()
    loader = DataLoader(data, batch_size=10, num_workers=4, sampler=order, collate_fn=max)
    most = max(loader)
    table = Table('what', 'measured', title=f'an annotation file of {lines:,} lines', title_justify='left')
    table.add_row('size', f'{path.stat().st_size / 1e6:,.0f} MB')
    table.add_row('opened in', f'{seconds:.2f} s')
    table.add_row('private memory it adds to the process', f'{own / 1e6:,.0f} MB')
    table.add_row('all private memory of the largest of 4 workers', f'{most / 1e6:,.0f} MB')
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--samples', type=int, default=400)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--lines', type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        console().print(large_file(Path(folder), args.lines))
        console().print(speed_table(list(measure(Path(folder), args.samples, args.repeats))))
    return 0


if __name__ == '__main__':
    sys.exit(main())
