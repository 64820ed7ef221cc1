"""Models between layouts: published checkpoints in, runs of ours out, deltas, adapters merged.

python tools/convert_checkpoint.py import MODEL --out FOLDER            a published checkpoint -> a model of ours
python tools/convert_checkpoint.py export MODEL --layout hf --out FOLDER
python tools/convert_checkpoint.py merge RUN --out FOLDER               the adapters of a run added to its weights
python tools/convert_checkpoint.py peft RUN --out FOLDER                the adapters alone, as peft writes them
python tools/convert_checkpoint.py delta apply --base LLAMA --delta SHIKRA --out FOLDER

MODEL is a config whose model_args name the checkpoint (--cfg-options model_args.model_name_or_path=...), or the output
folder of a run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mllm.config.config import ConfigError
from mllm.models.adapters import adapted_layers, merge_adapters, write_peft
from mllm.models.builder import resolve
from mllm.models.llava.delta import apply_delta, make_delta
from mllm.pipeline.trained import model_of, open_model
from mllm.utils.faults import lines_of
from mllm.utils.log import setup_logging


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='convert_checkpoint.py', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name in ('import', 'export', 'merge', 'peft'):
        command = commands.add_parser(name)
        command.add_argument('model', help='a config, or the output folder of a run')
        command.add_argument('--out', required=True)
        command.add_argument('--cfg-options', nargs='+', action='append', default=[], metavar='KEY=VALUE')
        if name == 'export':
            command.add_argument('--layout', required=True, help="'hf', 'original' or 'mllm'; not all models have all")
    delta = commands.add_parser('delta')
    delta.add_argument('action', choices=['apply', 'make'])
    delta.add_argument('--base', required=True, help='folder of the model the delta is over')
    delta.add_argument('--delta', help='folder of the delta, for apply')
    delta.add_argument('--target', help='folder of the model a delta is made of, for make')
    delta.add_argument('--out', required=True)
    args = parser.parse_args(argv)
    if args.command == 'delta':
        needed = {'apply': 'delta', 'make': 'target'}[args.action]
        if getattr(args, needed) is None:
            delta.error(f'{args.action} needs --{needed} FOLDER')
    return args


def check_out(out: str) -> None:
    if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise ValueError(f'--out {out} is there and not empty; name a new folder')


def convert_delta(args: argparse.Namespace) -> str:
    if args.action == 'apply':
        apply_delta(args.base, args.delta, args.out)
        return f'the base is the right one; the whole model is in {args.out}'
    make_delta(args.base, args.target, args.out)
    return f'the delta is in {args.out}'


def convert_model(args: argparse.Namespace) -> str:
    """Load a model by its family and write it in a layout. ValueError for whatever the user can mend."""
    options = [option for group in args.cfg_options for option in group]
    model_args = model_of(args.model, options)
    family, _ = resolve(model_args)
    layout = args.layout if args.command == 'export' else 'mllm'
    if layout not in family.layouts:
        raise ValueError(f'--layout {layout}: {model_args["type"]!r} has {", ".join(family.layouts)}')
    adapted = bool(model_args.get('lora'))
    if args.command in ('merge', 'peft') and not adapted:
        raise ValueError(f'{args.model} has no adapters: its model_args have no lora=dict(...)')
    opened = open_model(args.model, options)
    model = opened.model
    if args.command == 'peft':
        left = write_peft(model, args.out, model_args.get('model_name_or_path'))
        note = f'; what else was learnt is not in it: {", ".join(left)}' if left else ''
        return f'{len(adapted_layers(model))} adapters are in {args.out}{note}'
    merge_adapters(model)
    family.export(model, opened.arguments, opened.preprocessor, layout, args.out)
    return f'the model{", its adapters merged," if adapted else ""} is in {args.out}, in the layout {layout!r}'


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 where the model cannot be read or the layout cannot hold it."""
    args = parse_args(argv)
    setup_logging()
    try:
        check_out(args.out)
        print(convert_delta(args) if args.command == 'delta' else convert_model(args))
    except (ConfigError, ValueError, FileNotFoundError) as error:
        print('\n'.join(lines_of(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
