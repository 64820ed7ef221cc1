"""Stages 4 to 7 of a sample's way, in order: one episode -> one `Sample`, the same code in training and evaluation.

Episode
  | 4 geometry        boxes clipped to their image; image and target transformed together
  | 5 grounding text  <boxes>, <points> -> coordinates (0..1 of the transformed image) as the formatter writes them
  | 6 conversation    items -> segments of chunks, by their place in the episode
  | 7 tokens, labels  input_ids[L], labels[L]; images encoded; supports dropped from the front until it fits
Sample
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mllm.dataset.item_contract import check_item
from mllm.dataset.supervision import TokenizedSegment, join_segments, tokenize_segment
from mllm.grounding.formatter import substitute
from mllm.grounding.geometry import clip_boxes, clip_points, normalise_boxes, normalise_points
from mllm.types import IGNORE_INDEX, Episode, Preprocessor, RawItem, Sample, Target, Turn

if TYPE_CHECKING:
    from PIL import Image

    from mllm.utils.rng import ItemRng

NO_SIZE = (1, 1)
"""Of an item without image, whose placeholders name nothing."""


@dataclass(frozen=True)
class PreparedItem:
    """An item after stages 4 and 5: the image as the model sees it, the turns with coordinates written out."""

    image: Image.Image | None
    turns: list[Turn]
    clipped: int = 0
    """Boxes and points that stuck out of their image."""


class EpisodeEncoder:
    """Turns an episode into a `Sample`. `augment` (training only) changes image and target before the transform."""

    def __init__(self, preprocessor: Preprocessor, training: bool, augment: Callable[..., Any] | None = None) -> None:
        self.preprocessor = preprocessor
        self.training = training
        self.augment = augment
        self.image_token = str(preprocessor.tokenizer.convert_ids_to_tokens(preprocessor.image_token_id))

    def __call__(self, episode: Episode, index: int, rng: ItemRng | None = None) -> Sample:
        """Encode an episode. ValueError if an item breaks the contract or the query does not fit the model."""
        items = [self.prepare(item, rng) for item in episode.items]
        support, queries = items[: len(episode.support)], items[len(episode.support) :]
        kept, segments, image_runs, images = self.fit(support, queries)
        meta = {**(episode.query.get('meta') or {}), **episode.meta}
        if kept < len(support):
            if episode.indivisible:
                raise ValueError(
                    f'only {kept} of {len(support)} supports fit, and the answer is about all of them; '
                    'raise model_max_length or lower shot'
                )
            meta['dropped_supports'] = len(support) - kept
        if clipped := sum(item.clipped for item in items):
            meta['clipped'] = clipped
        input_ids, labels = join_segments(segments, image_runs, self.preprocessor.image_token_id)
        if self.training:
            if all(label == IGNORE_INDEX for label in labels[1:]):
                raise ValueError('no token of this sample is learnt: its answers are empty or not supervised')
            return Sample(input_ids, labels, images, index, meta=meta)
        target = queries[-1].turns[-1]['value']
        texts = dict.fromkeys([target, *meta.get('candidates', [])])
        support = support[len(support) - kept :]
        answers = {text: self.answer_ids(support, queries, text, segments[-1]) for text in texts}
        return Sample(input_ids, [], images, index, target, answers, meta)

    def prepare(self, item: RawItem, rng: ItemRng | None) -> PreparedItem:
        """Stages 4 and 5."""
        check_item(item)
        turns, image = item['conversations'], item.get('image')
        if image is None:
            return PreparedItem(None, [self.write_out(turn, None, NO_SIZE) for turn in turns])
        target, clipped = clip_target(item.get('target'), image.size)
        for transform in (self.augment if self.training else None, self.preprocessor.transform):
            if transform is not None:
                image, target = transform(image, target, rng)
        return PreparedItem(image, [self.write_out(turn, target, image.size) for turn in turns], clipped)

    def write_out(self, turn: Turn, target: Target | None, size: tuple[int, int]) -> Turn:
        """Stage 5: the turn with its placeholders replaced by coordinates."""
        formatter = self.preprocessor.formatter
        unit: Target = {}
        if target:
            unit = {
                'boxes': normalise_boxes(target.get('boxes', []), *size, formatter.decimals),
                'points': normalise_points(target.get('points', []), *size),
            }
        value = substitute(turn['value'], turn.get('boxes_seq'), turn.get('points_seq'), unit, formatter)
        return Turn({**turn, 'value': value})

    def fit(
        self, support: Sequence[PreparedItem], queries: Sequence[PreparedItem]
    ) -> tuple[int, list[TokenizedSegment], list[list[int]], Any]:
        """Stages 6 and 7: the most supports, counted from the query backwards, with which the episode fits.

        Returns their number, the segments, the run of ids of each image, and the encoded images.
        """
        pictures = [item.image for item in (*support, *queries) if item.image is not None]
        images, runs = self.preprocessor.encode_images(pictures) if pictures else (None, [])
        length = 0
        for kept in range(len(support), -1, -1):
            items = [*support[len(support) - kept :], *queries]
            shown = sum(item.image is not None for item in items)
            segments = self.tokenize(items[:kept], queries)
            # Runs are counted from the back: supports are dropped from the front.
            length = sum(len(s.input_ids) for s in segments) + sum(len(run) - 1 for run in runs[len(runs) - shown :])
            if length <= self.preprocessor.max_length:
                if kept < len(support) and shown:
                    images, runs = self.preprocessor.encode_images(pictures[-shown:])
                return kept, segments, runs, images if shown else None
        asked = sum(item.image is not None for item in queries)
        raise ValueError(
            f'query and answer alone have {length} tokens with {asked} images, more than the '
            f'{self.preprocessor.max_length} of model_max_length'
        )

    def tokenize(self, support: Sequence[PreparedItem], queries: Sequence[PreparedItem]) -> list[TokenizedSegment]:
        """Segments of an episode; in evaluation the last answer is left open."""
        segments = self.preprocessor.episode_template.segments(
            [item.turns for item in support], [item.turns for item in queries], answer_open=not self.training
        )
        return [tokenize_segment(segment, self.preprocessor.tokenizer, self.image_token) for segment in segments]

    def answer_ids(
        self, support: Sequence[PreparedItem], queries: Sequence[PreparedItem], text: str, prompt: TokenizedSegment
    ) -> list[int]:
        """Ids of `text` as the answer to the open prompt, with its end mark."""
        turns = [*queries[-1].turns[:-1], Turn({**queries[-1].turns[-1], 'value': text, 'supervised': True})]
        closed = [*(item.turns for item in queries[:-1]), turns]
        segment = self.preprocessor.episode_template.segments([item.turns for item in support], closed)[-1]
        ids = tokenize_segment(segment, self.preprocessor.tokenizer, self.image_token).input_ids
        start = len(prompt.input_ids)
        if ids[:start] != prompt.input_ids:
            raise ValueError(
                f'the tokenizer merges the prompt with the answer {text!r}; its likelihood cannot be taken'
            )
        return ids[start:]


def clip_target(target: Target | None, size: tuple[int, int]) -> tuple[Target | None, int]:
    """Boxes and points of an item clipped to its image, and how many were; errors as in `grounding.geometry`."""
    if not target:
        return None, 0
    boxes, clipped_boxes = clip_boxes(target.get('boxes', []), *size)
    points, clipped_points = clip_points(target.get('points', []), *size)
    return {'boxes': boxes, 'points': points}, clipped_boxes + clipped_points
