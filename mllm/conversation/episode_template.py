"""Stage 6 of a sample's way, second half: which template, BOS, loss and end each place of an episode gets.

    items:     support 0     support 1 ...   earlier query ...   query
    place:     first_support support         query               query          (with support)
               single                                                            (without)

Published LCL checkpoints need every item tokenised alone with its own BOS: one segment per item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mllm.conversation.template import Template
from mllm.registry import EPISODE_TEMPLATES, TEMPLATES
from mllm.types import Segment, Turn


@dataclass(frozen=True)
class Place:
    """How an item at this place of an episode is written.

    bos         the segment starts with the tokenizer's BOS
    keep_end    the segment keeps the end-of-answer mark (`sep2`)
    supervised  answers are learnt unless their turn says otherwise
    """

    template: Template
    bos: bool = True
    keep_end: bool = True
    supervised: bool = False


@dataclass(frozen=True)
class EpisodeTemplate:
    """The prompt protocol of a model: one `Place` for each position an item can have.

    `eos`: an episode with its last answer ends with the tokenizer's end of sequence.
    """

    single: Place
    first_support: Place
    support: Place
    query: Place
    eos: bool = False

    def segments(
        self, support: Sequence[Sequence[Turn]], queries: Sequence[Sequence[Turn]], answer_open: bool = False
    ) -> list[Segment]:
        """Segments of an episode, supports first. `answer_open` leaves the last answer to the model."""
        places = self.places(len(support), len(queries))
        turns = [*support, *queries]
        if answer_open:
            turns[-1] = open_answer(turns[-1])
        segments = [
            Segment(place.template.render(item, place.supervised, place.keep_end), place.bos, number)
            for number, (place, item) in enumerate(zip(places, turns, strict=True))
        ]
        if self.eos and not answer_open:
            segments[-1] = replace(segments[-1], eos=True)
        return segments

    def places(self, supports: int, queries: int) -> list[Place]:
        """The place of each item of an episode, supports first."""
        before = [self.first_support] + [self.support] * (supports - 1) if supports else []
        return before + [self.query if supports + queries > 1 else self.single] * queries


def open_answer(turns: Sequence[Turn]) -> list[Turn]:
    """The same turns with the last answer left open."""
    return [*turns[:-1], Turn({**turns[-1], 'value': ''})]


def build_episode_template(conv_args: Mapping[str, Any]) -> EpisodeTemplate:
    """The protocol named by `conv_args.episode_template`, with `conv_args.conv_template` for items without support.

    Unknown names are ValueErrors with the nearest ones.
    """
    names = dict(EPISODE_TEMPLATES.get(conv_args.get('episode_template', 'link_context')))
    single = conv_args.get('conv_template', 'vicuna_v1.1')
    eos = names.pop('eos', False)
    places = {place: Place(**{**cfg, 'template': TEMPLATES.get(cfg['template'])}) for place, cfg in names.items()}
    return EpisodeTemplate(single=Place(TEMPLATES.get(single), supervised=True), eos=eos, **places)
