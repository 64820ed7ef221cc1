"""How large a model is, part by part, and how much memory training and generation will need, before any weight is read.

python tools/model_info.py CONFIG [--batch N] [--length TOKENS] [--answer TOKENS] [--cfg-options a.b=c ...]

CONFIG may be a model's base alone, or the output folder of a run. Reads configs, tokenizer and image processor; the
model itself has shapes only (PyTorch's meta device). mllm/models/memory.py has the formulas and their sources.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.table import Table
from transformers import PreTrainedModel
from transformers.utils import logging as hf_logging

from mllm.config.check import ConfigError
from mllm.config.config import read_file
from mllm.config.output_dir import CONFIG_NAME
from mllm.config.overrides import Resolved
from mllm.models.builder import load_preprocessor, load_skeleton
from mllm.models.freeze import trainable_rows
from mllm.models.memory import Load, sizes_of, ways_to_generate, ways_to_train
from mllm.pipeline.trained import model_of
from mllm.utils.log import console

GIB = 2**30
NOTE = (
    'GiB on one device that holds everything; sharding over N devices (FSDP, ZeRO-3) divides weights, gradients and '
    'AdamW by N. Weights (float32 ones that compute in 16 bits with their copies), gradients and AdamW are counted, '
    'activations and their sums estimated. CUDA, its libraries and fragmentation take 1 to 3 GiB more. Not counted: '
    'activations of an image encoder that learns.'
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('config', metavar='CONFIG')
    parser.add_argument('--batch', type=int, help="sequences at a time (default: the config's for training, or 1)")
    parser.add_argument('--length', type=int, help='tokens of a sequence, images included (default: the longest)')
    parser.add_argument('--answer', type=int, default=64, help='supervised tokens of a sequence (default: 64)')
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE')
    return parser.parse_args(argv)


def load_of(args: argparse.Namespace, training_args: dict[str, Any], longest: int) -> Load:
    batch = args.batch if args.batch is not None else training_args.get('per_device_train_batch_size', 1)
    load = Load(batch, args.length if args.length is not None else longest, args.answer)
    faults = [f'--{name} {value}: expected 1 or more' for name, value in vars(load).items() if value < 1]
    if faults:
        raise ValueError('\n'.join(faults))
    return load


def parts_table(model: PreTrainedModel, title: str) -> Table:
    rows = trainable_rows(model)
    sums = [sum(column) for column in list(zip(*rows))[1:]]
    table = table_of(title, 'part', 'parameters', 'of them learn', 'share')
    for part, total, learning in rows:
        table.add_row(part, f'{total:,}', f'{learning:,}', f'{total / sums[0]:.1%}')
    table.add_section()
    table.add_row('all', f'{sums[0]:,}', f'{sums[1]:,}', '')
    return table


def training_table(model: PreTrainedModel, model_args: Mapping[str, Any], load: Load, half: bool) -> Table:
    table = table_of(
        f'Training, {load.batch} x {load.length} tokens, GiB',
        *('', 'weights', 'gradients', 'AdamW', 'activations', 'in all'),
        *('activations,\ncheckpointed', 'in all,\ncheckpointed'),
    )
    sizes, bits = sizes_of(model, model_args.get('lora')), (model_args.get('quantization') or {}).get('bits')
    for number, way in enumerate(ways_to_train(model, sizes, load, half, bits)):
        values = (way.weights, way.gradients, way.optimizer, way.activations, way.fixed + way.activations)
        values += (way.checkpointed, way.fixed + way.checkpointed)
        table.add_row(way.name, *map(gib, values), style='bold' if number == 0 else '', end_section=number == 0)
    return table


def generation_table(model: PreTrainedModel, lora: Any, load: Load) -> Table:
    title = f'Generation, {load.batch} x {load.length} tokens, GiB'
    table = table_of(title, 'weights in', 'weights', 'KV cache', 'in all')
    for way in ways_to_generate(model, sizes_of(model, lora), load):
        table.add_row(way.name, *map(gib, (way.weights, way.cache, way.weights + way.cache)))
    return table


def table_of(title: str, first: str, *others: str) -> Table:
    table = Table(first, title=title, title_justify='left')
    for heading in others:
        table.add_column(heading, justify='right')
    return table


def gib(size: float) -> str:
    """Three digits that matter: 13.2, 0.132, 0.00132."""
    value = size / GIB
    return f'{value:,.1f}' if value >= 10 else f'{value:.3g}'


def training_args_of(source: str, cfg_options: Sequence[str]) -> dict[str, Any]:
    """What the config says of training; a model's base says nothing."""
    path = str(Path(source, CONFIG_NAME)) if Path(source).is_dir() else source
    config = Resolved(read_file(path), path, [])
    config.take_options(cfg_options)
    return config.sections.get('training_args') or {}


def run(args: argparse.Namespace) -> None:
    model_args, training_args = model_of(args.config, args.cfg_options), training_args_of(args.config, args.cfg_options)
    preprocessor = load_preprocessor(model_args)
    load = load_of(args, training_args, preprocessor.max_length)
    model = load_skeleton(model_args, preprocessor)
    half = bool(training_args.get('bf16') or training_args.get('fp16'))
    for table in (
        parts_table(model, f'{args.config}: {type(model).__name__}'),
        training_table(model, model_args, load, half),
        generation_table(model, model_args.get('lora'), load),
    ):
        console().print(table)
        console().print()
    console().print(NOTE, style='bright_black')


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    hf_logging.set_verbosity_error()
    try:
        run(args)
    except (ConfigError, ValueError, FileNotFoundError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
