"""What a GPU computes, and how fast: kernels against eager attention, training, LoRA, generation; as a Markdown table.

python tools/gpu_check.py [--models llava_7b flamingo_9b smolvlm_500m] [--out FILE.md]
python tools/gpu_check.py --device cpu --tiny      the same code on tiny models, which says nothing about a GPU

Weights are drawn, of published sizes (tools/benchmark/gpu_models.py), and episodes are made up. Exit status 1 if a
kernel differs from eager attention by more than 2e-2 in bfloat16 or 1e-4 in float32 (relative, over all logits), 2
without a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image
from transformers import set_seed
from transformers.utils import logging as hf_logging

from mllm.config.config import load_model_args
from mllm.dataset.encoder import EpisodeEncoder
from mllm.engine.collator import Collator
from mllm.engine.loss import supervised_loss
from mllm.models.adapters import add_lora
from mllm.models.builder import load_model, load_preprocessor
from mllm.types import Episode, Preprocessor, RawItem, Turn
from tools.benchmark.gpu_models import CASES, Case

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {torch.bfloat16: 2e-2, torch.float32: 1e-4}
"""Largest relative difference of a kernel from eager attention."""
PEAK_TFLOPS = {
    'H200': 989,
    'H100 PCIe': 756,
    'H100': 989,
    'A100': 312,
    'L40S': 362,
    'L4': 121,
    'A10': 125,
    'RTX 4090': 165,
    'RTX 3090': 71,
}
"""Dense bfloat16 with float32 sums, by a part of the card's name, the longer first; NVIDIA's data sheets."""


def arguments(case: Case, tiny: bool) -> dict[str, Any]:
    base = load_model_args(ROOT / f'config/_base_/model/{case.base}.py')
    return {**base, **case.large, **(case.small if tiny else {}), 'dtype': 'bfloat16', 'attn_implementation': None}


def episode(case: Case, number: int) -> Episode:
    """Made-up images of one colour and words without meaning."""
    items = []
    for shot in range(case.shots + 1):
        image = Image.new('RGB', (224, 224), (17 * shot % 256, 40 * number % 256, 90))
        question = 'What is in <image>? ' + 'abc ' * case.words
        turns = [Turn({'from': 'human', 'value': question}), Turn({'from': 'gpt', 'value': 'there is abc'})]
        items.append(RawItem(image=image, conversations=turns))
    return Episode(items[-1], tuple(items[:-1]))


class Bench:
    """One model on one device, and what is measured of it."""

    def __init__(self, case: Case, device: str, tiny: bool, repeats: int) -> None:
        self.case, self.device, self.repeats = case, torch.device(device), repeats
        self.new_tokens = 4 if tiny else 64
        args = arguments(case, tiny)
        self.preprocessor: Preprocessor = load_preprocessor(args)
        set_seed(0)
        with self.device:
            model: Any = load_model(args, self.preprocessor)
        self.model = model.to(self.device)
        self.batch = self.make_batch('right', True)

    def make_batch(self, side: Any, training: bool) -> dict[str, Any]:
        encoder = EpisodeEncoder(self.preprocessor, training=training)
        samples = [encoder(episode(self.case, number), number) for number in range(self.case.batch)]
        batch = Collator(self.preprocessor, side, training)(samples)
        return {key: value.to(self.device) for key, value in batch.items() if isinstance(value, torch.Tensor)}

    @property
    def tokens(self) -> int:
        return int(self.batch['attention_mask'].sum())

    # ---- what is computed ----

    def kernels(self) -> list[str]:
        flash = self.device.type == 'cuda' and find_spec('flash_attn') is not None
        return ['sdpa', *(['flash_attention_2'] if flash else [])]

    @torch.no_grad()
    def differences(self, dtype: torch.dtype) -> dict[str, float]:
        """|kernel - eager| / |eager| over the logits of all tokens, by kernel."""
        model = self.model.to(dtype).eval()
        inputs = {key: value for key, value in self.batch.items() if key != 'labels'}
        inputs = {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
        mask = self.batch['attention_mask'].bool()

        def logits(kernel: str) -> torch.Tensor:
            model.set_attn_implementation(kernel)
            return model(**inputs, use_cache=False).logits[mask].float()

        eager = logits('eager')
        kernels = [name for name in self.kernels() if dtype != torch.float32 or name == 'sdpa']
        found = {name: float((logits(name) - eager).norm() / eager.norm()) for name in kernels}
        model.set_attn_implementation(self.kernels()[-1])
        return found

    # ---- how fast ----

    def step(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            loss, _ = supervised_loss(self.model, self.batch)
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        self.model.zero_grad(set_to_none=True)

    def seconds(self, call: Callable[[], Any]) -> float:
        """Median of the repeats, after two that are not counted."""
        times = []
        for _ in range(self.repeats + 2):
            self.wait()
            started = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - started)
        return statistics.median(times[2:])

    def wait(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()

    @contextmanager
    def peak(self, row: dict[str, str], name: str) -> Iterator[None]:
        """The most memory that was allocated, in GiB; unknown on a CPU."""
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        yield
        row[name] = f'{torch.cuda.max_memory_allocated() / 2**30:.1f}' if self.device.type == 'cuda' else '-'

    def rate(self, seconds: float) -> str:
        """Tokens per second, and the share of the card's peak: see `flops`."""
        peak = peak_flops(self.device)
        share = f' ({self.flops() / seconds / peak:.0%})' if peak else ''
        return f'{self.tokens / seconds:,.0f}{share}'

    def flops(self) -> float:
        """Of a forward and a backward pass of the language model, as Kaplan et al. 2020 count them.

        For each token 4 for every weight it passes, and 2 more for every weight that learns. Left out are attention's
        own, images and cross-attention.
        """
        language: Any = self.model.get_decoder()
        words = sum(p.numel() for p in self.model.get_input_embeddings().parameters())
        head = sum(p.numel() for p in self.model.get_output_embeddings().parameters())
        passed = sum(p.numel() for p in language.parameters()) + head
        learnt = sum(p.numel() for p in language.parameters() if p.requires_grad)
        return self.tokens * (4 * (passed - words) + 2 * learnt)

    def generation(self) -> float:
        """New tokens per second of the whole batch."""
        new = self.new_tokens
        prompts = self.make_batch('left', False)
        options = {'max_new_tokens': new, 'min_new_tokens': new, 'do_sample': False}
        self.model.eval()
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16):
            seconds = self.seconds(lambda: self.model.generate(**prompts, **options))
        return self.case.batch * new / seconds


def measure(name: str, case: Case, device: str, tiny: bool, repeats: int) -> tuple[dict[str, str], bool]:
    """A row of the table, and whether all kernels agree."""
    bench = Bench(case, device, tiny, repeats)
    model = bench.model
    row = {'model': name, 'parameters': f'{sum(p.numel() for p in model.parameters()) / 1e6:,.1f} M'}
    row['batch'] = ' x '.join(map(str, bench.batch['input_ids'].shape))
    good = True
    for dtype in (torch.bfloat16, torch.float32):
        found = bench.differences(dtype)
        good &= all(value <= LIMITS[dtype] for value in found.values())
        text = ', '.join(f'{kernel} {value:.0e}' for kernel, value in found.items())
        row[f'from eager, {str(dtype).removeprefix("torch.")}'] = text
    model.to(torch.bfloat16).train()
    with bench.peak(row, 'GiB'):
        row['training, tokens/s'] = bench.rate(bench.seconds(bench.step))
    row['generation, tokens/s'] = f'{bench.generation():,.0f}'
    model.requires_grad_(False)
    add_lora(model, {'r': 16, 'target': case.lora}, [], [])
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    with bench.peak(row, 'GiB (LoRA)'):
        row['LoRA step, tokens/s'] = bench.rate(bench.seconds(lambda: bench.step(optimizer)))
    return row, good


def peak_flops(device: torch.device) -> float | None:
    if device.type != 'cuda':
        return None
    name = torch.cuda.get_device_name(device)
    return next((1e12 * value for part, value in PEAK_TFLOPS.items() if part in name), None)


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows as Markdown."""
    names = list(rows[0])
    lines = [
        names,
        ['---' if n < 2 else '--:' for n in range(len(names))],
        *([row[name] for name in names] for row in rows),
    ]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def title(device: str, tiny: bool) -> str:
    card = torch.cuda.get_device_name() if device == 'cuda' else 'a CPU'
    words = f'{datetime.date.today()}, {card}, torch {torch.__version__}'
    return f'{words}; tiny models, which say nothing about a GPU' if tiny or device != 'cuda' else words


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--models', nargs='+', choices=list(CASES), default=list(CASES))
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--tiny', action='store_true', help='tiny models, to try the code')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', help='write the table to this file too')
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        print('there is no GPU here; --device cpu --tiny runs the same code on tiny models', file=sys.stderr)
        return 2
    hf_logging.set_verbosity_error()
    rows, good = [], True
    for name in args.models:
        row, agrees = measure(name, CASES[name], args.device, args.tiny, args.repeats)
        rows.append(row)
        good &= agrees
        gc.collect()
        if args.device == 'cuda':
            torch.cuda.empty_cache()
    text = f'{title(args.device, args.tiny)}\n\n{table(rows)}\n'
    print(text)
    if args.out:
        Path(args.out).write_text(text, encoding='utf-8')
    if not good:
        print('a kernel differs from eager attention by more than it may', file=sys.stderr)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
