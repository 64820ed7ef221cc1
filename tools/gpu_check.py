"""What a GPU computes, and how fast: attention kernels against eager, training, LoRA steps, generation; a table for docs/benchmarks.md.

python tools/gpu_check.py [--models llava_7b openflamingo_3b smolvlm_500m] [--out FILE.md]
python tools/gpu_check.py --device cpu --tiny      the same code on tiny models, which says nothing about a GPU

Weights are drawn, of published sizes, and episodes are made up. Exit status 1 if a kernel differs from eager attention by more
than 2e-2 in bfloat16 or 1e-4 in float32 (relative, over all logits), 2 without a GPU.
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
from dataclasses import dataclass, field
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
CLIP_L = dict(
    model_type='clip_vision_model',
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=224,
    patch_size=14,
)
LLAMA_7B = dict(
    model_type='llama',
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    vocab_size=32000,
    max_position_embeddings=4096,
)
MPT_1B = dict(model_type='mosaic_gpt', hidden_size=2048, num_hidden_layers=24, num_attention_heads=16, vocab_size=50432)
SMOLVLM_500M = dict(
    model_type='smolvlm',
    scale_factor=2,
    vision_config=dict(
        image_size=32,
        patch_size=8,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
    ),
    text_config=dict(
        model_type='llama',
        hidden_size=960,
        intermediate_size=2560,
        num_hidden_layers=32,
        num_attention_heads=15,
        num_key_value_heads=5,
        vocab_size=49280,
    ),
)


@dataclass(frozen=True)
class Case:
    """A model and the episodes it is given. `small` and `large` are changes of its tiny base's arguments."""

    base: str
    large: dict[str, Any]
    shots: int
    words: int
    batch: int
    lora: Sequence[str] = ('*q_proj', '*v_proj')
    small: dict[str, Any] = field(default_factory=dict)


CASES = {
    'llava_7b': Case(
        'llava_v1_7b',
        {'llm': LLAMA_7B, 'vision_tower': CLIP_L, 'tokenizer': str(ROOT / 'data/tiny_llava'), 'model_max_length': 4096},
        shots=7,
        words=20,
        batch=2,
        small={
            'llm': {**LLAMA_7B, 'hidden_size': 64, 'intermediate_size': 96, 'num_hidden_layers': 2, 'vocab_size': 128},
            'vision_tower': {
                **CLIP_L,
                'hidden_size': 32,
                'intermediate_size': 48,
                'num_hidden_layers': 2,
                'image_size': 28,
            },
            'image_size': 28,
        },
    ),
    'openflamingo_3b': Case(
        'tiny_flamingo',
        {'llm': MPT_1B, 'vision_tower': CLIP_L, 'image_size': 224, 'sizes': {}, 'freeze_vision_tower': True},
        shots=7,
        words=100,
        batch=4,
        lora=('*Wqkv',),
        small={
            'llm': {**MPT_1B, 'hidden_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'vocab_size': 128}
        },
    ),
    'smolvlm_500m': Case('tiny_hf_vlm', {'config': SMOLVLM_500M}, shots=7, words=100, batch=4),
}


def arguments(case: Case, tiny: bool) -> dict[str, Any]:
    base = load_model_args(ROOT / f'config/_base_/model/{case.base}.py')
    changes = {**case.large, **case.small} if tiny else case.large
    if tiny and not case.small:
        changes = {}
    return {**base, **changes, 'dtype': 'bfloat16', 'attn_implementation': None}


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
        args = arguments(case, tiny)
        self.preprocessor: Preprocessor = load_preprocessor(args)
        set_seed(0)
        with self.device:
            model = load_model(args, self.preprocessor)
        self.model: Any = model.to(self.device)
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
        """Of a forward and a backward pass: 4 N for activations and 2 for each weight that learns, per token (Kaplan et al.
        2020), without attention's own and without images."""
        language: Any = self.model.get_decoder()
        words = sum(p.numel() for p in self.model.get_input_embeddings().parameters())
        passed = sum(p.numel() for p in language.parameters()) + sum(
            p.numel() for p in self.model.get_output_embeddings().parameters()
        )
        learnt = sum(p.numel() for p in language.parameters() if p.requires_grad)
        return self.tokens * (4 * (passed - words) + 2 * learnt)

    def generation(self) -> float:
        """New tokens per second of the whole batch."""
        new = 32
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
    row = {'model': name, 'parameters': f'{sum(p.numel() for p in model.parameters()) / 1e9:.2f} B'}
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
