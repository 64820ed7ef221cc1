"""Show one sample of a config on its whole way: raw items, prompt, tokens coloured by supervision, and a picture.

python tools/show_sample.py CONFIG --index 3 [--split train] [--cfg-options a.b=c ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.text import Text

from mllm.config.config import load_config
from mllm.dataset.builder import checked_sources, make_dataset, select_entries
from mllm.dataset.item_contract import check_item
from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.evaluation.report.episode_picture import EpisodeRow, Picture, draw_episodes
from mllm.models.builder import load_preprocessor
from mllm.types import (
    BOXES_PLACEHOLDER,
    IGNORE_INDEX,
    POINTS_PLACEHOLDER,
    Episode,
    Preprocessor,
    RawItem,
    Sample,
    images_of,
    targets_of,
)

SUPERVISED, GIVEN, IMAGE = 'bold green', 'dim', 'cyan'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--split', default='train', help="'train', 'validation', 'test' or the name of a multitest set")
    parser.add_argument('--index', type=int, default=0)
    parser.add_argument('--epoch', type=int, default=0, help='training episodes are drawn anew in every epoch')
    parser.add_argument('--seed', type=int, help="the run's seed, if not the config's (training split only)")
    parser.add_argument('--picture', default='exp/sample.png', help='where the picture goes')
    parser.add_argument('--cfg-options', nargs='+', action='append', default=[], metavar='KEY=VALUE')
    return parser.parse_args(argv)


def find_dataset(cfg: Any, preprocessor: Preprocessor, split: str, seed: int) -> SingleImageConvDataset:
    """The dataset called `split`; ValueError with the splits there are, or with the faults of this one."""
    (entry,) = select_entries(cfg.data_args, [split]).values()
    (source,) = checked_sources([entry]).values()
    return make_dataset(entry.prefix, source, cfg.data_args, preprocessor, seed)


def show_items(console: Console, episode: Episode) -> None:
    for number, item in enumerate(episode.items):
        support, query = number < len(episode.support), number == len(episode.items) - 1
        place = f'support {number}' if support else 'query' if query else 'earlier query'
        console.print(f'[bold]{place}[/bold]  {describe_image(item)}')
        for turn in item['conversations']:
            console.print(Text(f'  {turn["from"]:>5}: {turn["value"]}'))
            for key in ('boxes_seq', 'points_seq'):
                if sequence := turn.get(key):
                    console.print(Text(f'         {key} {sequence}'))
        if target := item.get('target'):
            console.print(Text(f'  target: {target}'))


def describe_image(item: RawItem) -> str:
    path = (item.get('meta') or {}).get('image_path', '')
    sizes = [f'image {image.width}x{image.height}' for image in images_of(item)]
    return f'{", ".join(sizes)} {path}' if sizes else 'no image'


def show_tokens(console: Console, sample: Sample, preprocessor: Preprocessor) -> None:
    """Tokens in the order the model reads them; runs of image tokens are written once, with their number."""
    tokens = [str(token) for token in preprocessor.tokenizer.convert_ids_to_tokens(sample.input_ids)]
    labels = sample.labels or [IGNORE_INDEX] * len(tokens)
    image_token = preprocessor.tokenizer.convert_ids_to_tokens(preprocessor.image_token_id)
    text, position = Text(), 0
    # Without colours the tokens that are learnt stand in brackets.
    left, right = ('', '') if console.is_terminal else ('{', '}')
    while position < len(tokens):
        run = position
        while run < len(tokens) and tokens[run] == image_token:
            run += 1
        if run > position:
            text.append(f'[{run - position} image tokens]', IMAGE).append('|', 'bright_black')
            position = run
            continue
        if labels[position] != IGNORE_INDEX:
            text.append(f'{left}{tokens[position]}{right}', SUPERVISED).append('|', 'bright_black')
        else:
            text.append(tokens[position], GIVEN).append('|', 'bright_black')
        position += 1
    console.print(text)
    learnt = sum(label != IGNORE_INDEX for label in labels)
    images = sum(token == image_token for token in tokens)
    console.print(f'{len(tokens)} tokens, {images} of them image tokens, [{SUPERVISED}]{learnt} learnt[/]')


def episode_row(episode: Episode, title: str) -> EpisodeRow:
    def pictures(item: RawItem, framed: bool) -> list[Picture]:
        answer = (item.get('meta') or {}).get('label') or item['conversations'][-1]['value']
        # What stands for boxes and points is drawn.
        caption = wrap(answer.replace(BOXES_PLACEHOLDER, '').replace(POINTS_PLACEHOLDER, ''))
        targets = [target or {} for target in targets_of(item)]
        return [
            Picture(image, caption, boxes=target.get('boxes', ()), points=target.get('points', ()), framed=framed)
            for image, target in zip(images_of(item), targets, strict=True)
        ] or [Picture(None, caption, framed=framed)]

    *before, query = (
        picture for n, item in enumerate(episode.items) for picture in pictures(item, n >= len(episode.support))
    )
    return EpisodeRow(title, before, query)


def wrap(text: str, width: int = 18) -> str:
    lines: list[str] = ['']
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return '\n'.join([*lines[:4], '...'] if len(lines) > 4 else lines)


def check_picture(path: Path) -> None:
    """ValueError or OSError where a picture cannot be written."""
    if path.suffix.lower() != '.png':
        raise ValueError(f'--picture {path}: expected a name that ends with .png')
    path.parent.mkdir(parents=True, exist_ok=True)


def show(args: argparse.Namespace, console: Console) -> None:
    """All of one sample; of one that cannot be encoded, its items. ValueError or OSError for what the user can mend."""
    check_picture(Path(args.picture))
    cfg = load_config(args.config, [option for group in args.cfg_options for option in group])
    preprocessor = load_preprocessor(cfg.model_args)
    seed = (cfg.get('training_args') or {}).get('seed', 42) if args.seed is None else args.seed
    dataset = find_dataset(cfg, preprocessor, args.split, seed)
    if not 0 <= args.index < len(dataset):
        raise ValueError(f'--index {args.index}: {args.split} has {len(dataset)} samples, numbered from 0')
    episode = dataset.draw(args.epoch, args.index)
    with dataset.placing_faults(args.index):
        for item in episode.items:
            check_item(item)
    console.rule(f'{args.split} sample {args.index}')
    console.print(Text(str(dataset.source.describe(args.index))))
    show_items(console, episode)
    # Not dataset[...]: where bad samples are skipped, it would show another one.
    sample = dataset.encode(args.epoch, args.index)
    learnt = 'learnt' if console.is_terminal else '{learnt}'
    console.rule(f'tokens as the model reads them: [bold green]{learnt}[/], [dim]given[/], [cyan]image[/]')
    show_tokens(console, sample, preprocessor)
    if sample.target:
        console.print(Text(f'target: {sample.target}'))
    draw_episodes([episode_row(episode, f'{args.split} {args.index}')], args.picture)
    console.print(f'picture: {args.picture}')


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        show(args, Console(highlight=False))
    except (ValueError, OSError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
