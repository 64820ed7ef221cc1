"""Teach a model names with a few labelled pictures, and ask about new ones: did it learn from them, or guess?

python tools/teach.py --model CONFIG_OR_FOLDER --support mug=a.jpg,b.jpg --support bowl=c.jpg,d.jpg --query q.jpg ...
python tools/teach.py --model CONFIG_OR_FOLDER --folder DIR --query q.jpg ...      (DIR has a sub-folder per label)

--model is a config, or the output folder of a run, adapters included. Every query is asked three times: as taught, with
the names of the labels exchanged among the supports, and with white pictures in place of the supports. A model that
reads its supports gives the exchanged name the second time, and has no reason to prefer any name the third time.

The probability of a label is the softmax, over all labels, of the mean log-likelihood per token of the answer that
names it: long names are at no disadvantage, but it is no share of cases. --picture shows all of it, --json FILE has the
numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers.utils import logging as hf_logging

from mllm.config.check import ConfigError
from mllm.dataset.encoder import EpisodeEncoder
from mllm.dataset.single_image_dataset.controls import apply_control
from mllm.dataset.single_image_dataset.episode_parts import QUERY_QUESTION, Draw, compose
from mllm.evaluation.report.episode_picture import NEUTRAL, EpisodeRow, Picture, draw_episodes
from mllm.evaluation.scoring import Scorer
from mllm.metric.text import normalise_answer
from mllm.pipeline.trained import open_model
from mllm.types import IMAGE_PLACEHOLDER, Episode, Sample, images_of
from mllm.utils.faults import lines_of, stop_on
from mllm.utils.files import write_text_atomically
from mllm.utils.image_io import ImageError, load_image
from mllm.utils.log import console, setup_logging
from mllm.utils.rng import ItemRng
from tools.make_isekai import ENDINGS

WAYS = {'taught': None, 'exchanged': 'permute_labels', 'blanked': 'blank_supports'}
"""How a query is asked -> the control of evaluations that does so."""
TITLES = {'taught': 'as taught', 'exchanged': 'names exchanged', 'blanked': 'supports blanked'}
SHOWN_SIDE = 320
"""Longer side of a picture in the picture, in pixels."""
SURE = 1.5
"""Above this multiple of chance, the likeliest label of blanked supports is a preference."""


@dataclass(frozen=True)
class Lesson:
    """Labels with their pictures by path, equally many each; the pictures to ask about; and the question."""

    supports: Mapping[str, Sequence[str]]
    queries: Sequence[str]
    question: str


@dataclass(frozen=True)
class Reply:
    """What the model says in one way of asking, and the scores and probabilities of all labels."""

    answer: str
    scores: dict[str, float]
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """The likeliest one."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--model', required=True, metavar='CONFIG_OR_FOLDER')
    parser.add_argument('--support', action='append', default=[], metavar='LABEL=PICTURE,...')
    parser.add_argument('--folder', type=Path, help='in place of --support: a folder with a sub-folder per label')
    parser.add_argument('--query', nargs='+', required=True, metavar='PICTURE')
    parser.add_argument('--ask', default=QUERY_QUESTION, help=f'the question (default: {QUERY_QUESTION!r})')
    parser.add_argument('--picture', type=Path, default=Path('exp/teach.png'), help='where the picture goes')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all numbers there')
    parser.add_argument('--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE')
    return parser.parse_args(argv)


# ---- the lesson ----


def read_lesson(args: argparse.Namespace) -> Lesson:
    """ValueError with everything that is wrong about labels and pictures."""
    if bool(args.support) == (args.folder is not None):
        raise ValueError('give the supports either as --support LABEL=PICTURE,... or as --folder DIR')
    supports = read_folder(args.folder) if args.folder is not None else read_supports(args.support)
    question = args.ask if IMAGE_PLACEHOLDER in args.ask else f'{IMAGE_PLACEHOLDER} {args.ask}'
    faults = [f'--ask: {IMAGE_PLACEHOLDER} stands there twice'] if question.count(IMAGE_PLACEHOLDER) > 1 else []
    faults += label_faults(list(supports))
    if len(set(map(len, supports.values()))) > 1:
        counts = ', '.join(f'{label} {len(paths)}' for label, paths in supports.items())
        faults.append(f'every label needs as many pictures as the others; there are: {counts}')
    paths = [path for pictures in supports.values() for path in pictures]
    faults += [f'{path} is shown as a support twice' for path in dict.fromkeys(paths) if paths.count(path) > 1]
    faults += [
        f'--query {path} is a support: the model would only have to copy its name'
        for path in args.query
        if path in paths
    ]
    for path in dict.fromkeys([*paths, *args.query]):
        try:
            load(path)
        except ImageError as error:
            faults.append(str(error).replace('; check the annotation and image_folder', '; check its path'))
    stop_on(faults)
    return Lesson(supports, args.query, question)


def read_supports(texts: Sequence[str]) -> dict[str, list[str]]:
    """LABEL=PICTURE,... -> pictures by label. A label that is given twice gets all of them."""
    supports: dict[str, list[str]] = {}
    faults = []
    for text in texts:
        label, _, pictures = text.partition('=')
        if text.count('=') != 1 or ',' in label or not label.strip():
            faults.append(
                f'--support {text}: expected LABEL=PICTURE,PICTURE,... with one = and no comma in the label; where a '
                'label or a file has one in its name, use --folder'
            )
        elif not all(pictures.split(',')):
            faults.append(f'--support {text}: a picture is missing; expected {label}=PICTURE,PICTURE,...')
        else:
            supports.setdefault(label.strip(), []).extend(pictures.split(','))
    stop_on(faults)
    return supports


def read_folder(folder: Path) -> dict[str, list[str]]:
    """Pictures by label, of the sub-folders of a folder; `_` in their names is a blank."""
    if not folder.is_dir():
        raise ValueError(f'--folder {folder}: no such folder')
    supports: dict[str, list[str]] = {}
    for sub in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.')):
        pictures = sorted(str(path) for path in sub.iterdir() if path.suffix.lower() in ENDINGS)
        if not pictures:
            raise ValueError(f'{sub}: no pictures; a label needs at least one ({", ".join(sorted(ENDINGS))})')
        supports[sub.name.replace('_', ' ')] = pictures
    return supports


def label_faults(labels: Sequence[str]) -> list[str]:
    """Labels that no answer could tell apart, or that would be read as something else."""
    faults = [f'label {label!r}: leave out < > and "' for label in labels if set(label) & set('<>"')]
    known: dict[str, str] = {}
    for label in labels:
        name = normalise_answer(label)
        other = known.setdefault(name, label)
        if not name:
            faults.append(f'label {label!r} has no letters')
        elif other is not label:
            faults.append(f'labels {other!r} and {label!r} are the same once written as an answer; rename one')
    if len(labels) < 2:
        faults.append(f'{len(labels) or "no"} label{"s" * (len(labels) != 1)}: to choose, a model needs two or more')
    return faults


def load(path: str) -> Image.Image:
    """The picture as one sees it: cameras note how they were held."""
    return ImageOps.exif_transpose(load_image(path))


def make_episode(lesson: Lesson, query: str) -> Episode:
    """An episode as in training. Its query has no right answer; the first label stands in its place."""
    labels = list(lesson.supports)
    draw = Draw(
        names='given',
        labels=labels,
        originals=None,
        classes=labels,
        supports=[(number, path) for number, label in enumerate(labels) for path in lesson.supports[label]],
        queries=[(0, query)],
    )
    shot = len(lesson.supports[labels[0]])
    return compose(draw, load, shot, ItemRng(0, 0, 0), [lesson.question], 'none')


# ---- the answers ----


class Pupil:
    """A model, and what turns episodes into its answers."""

    def __init__(self, source: str, cfg_options: Sequence[str]) -> None:
        opened = open_model(source, cfg_options)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.encoder = EpisodeEncoder(opened.preprocessor, training=False)
        model: Any = opened.model
        self.scorer = Scorer(model.to(device).eval(), opened.preprocessor, {'max_new_tokens': 32})

    def ask(self, episodes: Mapping[str, Episode]) -> dict[str, Reply]:
        """The reply to each episode. ValueError where not all supports fit."""
        samples = [self.encode(episode) for episode in episodes.values()]
        predictions, _ = self.scorer.predict(samples)
        return {
            way: reply_of(prediction.pred, prediction.score, episode)
            for (way, episode), prediction in zip(episodes.items(), predictions, strict=True)
        }

    def encode(self, episode: Episode) -> Sample:
        sample = self.encoder(episode, 0)
        if dropped := sample.meta.get('dropped_supports'):
            longest = self.encoder.preprocessor.max_length
            raise ValueError(
                f'{dropped} of {len(episode.support)} supports do not fit into the {longest} tokens of a sequence; '
                'give fewer, or --cfg-options model_args.model_max_length=N'
            )
        return sample


def reply_of(answer: str, scores: Mapping[str, float], episode: Episode) -> Reply:
    """Scores of answers -> of labels, and their softmax."""
    by_label = dict(zip(episode.meta['labels'], (scores[text] for text in episode.meta['candidates']), strict=True))
    highest = max(by_label.values())
    weights = {label: math.exp(score - highest) for label, score in by_label.items()}
    total = sum(weights.values())
    return Reply(answer, by_label, {label: weight / total for label, weight in weights.items()})


def verdict(replies: Mapping[str, Reply], exchanged: Mapping[str, str]) -> str:
    """What the three replies say about each other, in a sentence; `exchanged` has the new name of each label."""
    taught, swapped, blanked = (replies[way] for way in WAYS)
    follows = swapped.label == exchanged[taught.label]
    chance = 1 / len(exchanged)
    prefers = blanked.probabilities[blanked.label] > min(SURE * chance, (1 + chance) / 2)
    first = (
        f'with the names exchanged it says {swapped.label!r} for {taught.label!r}: it goes by the supports'
        if follows
        else f'with the names exchanged it should say {exchanged[taught.label]!r} for {taught.label!r} and says '
        f'{swapped.label!r}: do not rely on it'
    )
    return first + (f'; without the supports it leans to {blanked.label!r} by itself' if prefers else '')


# ---- what is shown ----


def show(query: str, replies: Mapping[str, Reply], said: str, out: Console) -> None:
    table = Table('asked', 'answer', title=Text(query), title_justify='left')
    for label in replies['taught'].probabilities:
        table.add_column(Text(label), justify='right')
    for way, reply in replies.items():
        cells = [
            Text(f'{value:.1%}', style='bold' if label == reply.label else '')
            for label, value in reply.probabilities.items()
        ]
        table.add_row(TITLES[way], Text(reply.answer), *cells)
    out.print(table)
    out.print(Text(said), '', sep='\n')


def picture_row(way: str, episode: Episode, reply: Reply) -> EpisodeRow:
    support = [Picture(shrunk(item), (item.get('meta') or {})['label'], NEUTRAL) for item in episode.support]
    ranked = sorted(reply.probabilities.items(), key=lambda entry: -entry[1])
    caption = '\n'.join(f'{label} {value:.0%}' for label, value in ranked[:4])
    return EpisodeRow(TITLES[way].replace(' ', '\n'), support, Picture(shrunk(episode.query), caption, NEUTRAL))


def shrunk(item: Any) -> Image.Image:
    (image,) = images_of(item)
    image = image.copy()
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return image


def run(args: argparse.Namespace, out: Console) -> None:
    lesson = read_lesson(args)
    pupil = Pupil(args.model, args.cfg_options)
    labels = list(lesson.supports)
    exchanged = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
    rows, results = [], []
    for query in lesson.queries:
        episode = make_episode(lesson, query)
        episodes = {way: apply_control(episode, control) for way, control in WAYS.items()}  # type: ignore[arg-type]
        replies = pupil.ask(episodes)
        said = verdict(replies, exchanged)
        show(query, replies, said, out)
        rows += [picture_row(way, episodes[way], reply) for way, reply in replies.items()]
        results.append({'query': query, 'verdict': said, **{way: vars(reply) for way, reply in replies.items()}})
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    draw_episodes(rows, args.picture, 'Supports with their names, and what the last picture is taken for')
    out.print('Probability of a label: softmax over the mean log-likelihood per token of each answer.', soft_wrap=True)
    out.print(f'The picture: {args.picture}', soft_wrap=True)
    if args.json is not None:
        report = {'model': args.model, 'question': lesson.question, 'supports': lesson.supports}
        report |= {'exchanged': exchanged, 'queries': results}
        write_text_atomically(args.json, json.dumps(report, indent=2, ensure_ascii=False) + '\n')


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        run(args, console())
    except (ConfigError, ValueError, OSError) as error:
        sys.stderr.write('\n'.join(lines_of(error)) + '\n')
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
