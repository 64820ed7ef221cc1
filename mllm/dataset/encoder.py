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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mllm.dataset.item_contract import check_item
from mllm.dataset.supervision import TokenizedSegment, join_segments, place_images, tokenize_segment
from mllm.grounding.formatter import is_index, substitute
from mllm.grounding.geometry import (
    clip_boxes,
    clip_points,
    denormalise_boxes,
    denormalise_points,
    normalise_boxes,
    normalise_points,
)
from mllm.types import (
    IGNORE_INDEX,
    Episode,
    ImageRun,
    Point,
    Preprocessor,
    RawItem,
    Sample,
    Target,
    Turn,
    images_of,
    targets_of,
)
from mllm.utils.image_io import original_size

if TYPE_CHECKING:
    from PIL import Image

    from mllm.utils.rng import ItemRng


@dataclass(frozen=True)
class PreparedItem:
    """An item after stages 4 and 5: its images as the model sees them, the turns with coordinates written out."""

    images: list[Image.Image]
    turns: list[Turn]
    clipped: int = 0
    """Boxes and points that stuck out of their image."""
    places: dict[str, Any] = field(default_factory=dict)
    """In evaluation, of an item with one image and a target: see `EpisodeEncoder`."""


class EpisodeEncoder:
    """Turns an episode into a `Sample`. `augment` (training only) changes image and target before the transform.

    In evaluation the sample's `meta` tells where the query's image and answer lie, if it has boxes or points:

    image_size      width and height of the original image
    frame           the box, in pixels of the original image, that the model's coordinates 0..1 span
    answer_boxes    for each <boxes> of the answer its boxes, in pixels of the original image and clipped to it
    answer_points   likewise for <points>
    target_boxes    all boxes of the query
    """

    def __init__(self, preprocessor: Preprocessor, training: bool, augment: Callable[..., Any] | None = None) -> None:
        self.preprocessor = preprocessor
        self.training = training
        self.augment = augment
        self.image_token = str(preprocessor.tokenizer.convert_ids_to_tokens(preprocessor.image_token_id))

    def __call__(self, episode: Episode, index: int, rng: ItemRng | None = None) -> Sample:
        """Encode an episode. ValueError if an item breaks the contract or the query does not fit the model."""
        items = [self.prepare(item, rng) for item in episode.items]
        support, queries = items[: len(episode.support)], items[len(episode.support) :]
        kept, segments, runs, images = self.fit(support, queries)
        meta = {**(episode.query.get('meta') or {}), **queries[-1].places, **episode.meta}
        if kept < len(support):
            if episode.indivisible:
                raise ValueError(
                    f'only {kept} of {len(support)} supports fit, and the answer is about all of them; '
                    'raise model_max_length or lower shot'
                )
            meta['dropped_supports'] = len(support) - kept
        if clipped := sum(item.clipped for item in items):
            meta['clipped'] = clipped
        input_ids, labels = join_segments(segments, runs, self.image_token, self.preprocessor.image_token_id)
        filled = self.image_tokens(runs)
        if self.training:
            if all(label == IGNORE_INDEX for label in labels[1:]):
                raise ValueError('no token of this sample is learnt: its answers are empty or not supervised')
            return Sample(input_ids, labels, images, index, image_tokens=filled, meta=meta)
        target = queries[-1].turns[-1]['value']
        texts = dict.fromkeys([target, *meta.get('candidates', [])])
        support = support[len(support) - kept :]
        answers = {text: self.answer_ids(support, queries, text, segments[-1], runs) for text in texts}
        return Sample(input_ids, [], images, index, target, filled, answers, meta)

    def image_tokens(self, runs: Sequence[ImageRun]) -> list[int]:
        """How many ids each image fills; those that do not reach the model, for their run fills none, are left out."""
        token_id = self.preprocessor.image_token_id
        counts = [run.count(self.image_token) if isinstance(run, str) else run.count(token_id) for run in runs]
        return [count for count in counts if count]

    def prepare(self, item: RawItem, rng: ItemRng | None) -> PreparedItem:
        """Stages 4 and 5."""
        check_item(item)
        images, originals, units, clipped, places = [], [], [], 0, {}
        for original, given in zip(images_of(item), targets_of(item), strict=True):
            size = original_size(original)
            target, cut = clip_target(given, size)
            image, moved, frame = self.move(original, resized(target, size, original.size), rng)
            images.append(image)
            originals.append(target)
            units.append(self.to_unit(moved, image.size))
            clipped += cut
            if frame:
                places = {'image_size': list(size), 'frame': frame}
        listed = isinstance(item.get('image'), Sequence)
        turns = [self.write_out(turn, units, listed) for turn in item['conversations']]
        if places and not listed:
            places |= answer_places(item['conversations'][-1], originals[0] or {})
            places['target_boxes'] = [list(map(float, box)) for box in (originals[0] or {}).get('boxes', [])]
        return PreparedItem(images, turns, clipped, {} if listed else places)

    def move(
        self, image: Image.Image, target: Target | None, rng: ItemRng | None
    ) -> tuple[Image.Image, Target | None, list[float] | None]:
        """Stage 4 for one image: augmentation and transform. Third, in evaluation with a target, the `frame`."""
        steps = [step for step in (self.augment if self.training else None, self.preprocessor.transform) if step]
        size, stored, asked = image.size, original_size(image), False
        if target is not None and not self.training:
            asked = True
            # The corners of the image move along with its target.
            target = {**target, 'points': [*target.get('points', []), [0.0, 0.0], [*map(float, size)]]}
        for step in steps:
            image, target = step(image, target, rng)
        if not asked or target is None:
            return image, target, None
        *points, start, stop = target.get('points', [])
        frame = frame_of(stored, *normalise_points([start, stop], *image.size))
        return image, {**target, 'points': points}, frame

    def to_unit(self, target: Target | None, size: tuple[int, int]) -> Target:
        """Pixels of the model's image -> 0..1."""
        if target is None:
            return {}
        return {
            'boxes': normalise_boxes(target.get('boxes', []), *size, self.preprocessor.formatter.decimals),
            'points': normalise_points(target.get('points', []), *size),
        }

    def write_out(self, turn: Turn, units: Sequence[Target], listed: bool) -> Turn:
        """Stage 5: the turn with its placeholders replaced by coordinates. `listed`: the item has a list of images."""
        sequences: tuple[Any, Any] = turn.get('boxes_seq'), turn.get('points_seq')
        if listed:
            boxes, points = ([len(unit.get(key, ())) for unit in units] for key in ('boxes', 'points'))
            sequences = flat_indices(sequences[0], boxes), flat_indices(sequences[1], points)
        joined: Target = {
            'boxes': [box for unit in units for box in unit.get('boxes', ())],
            'points': [point for unit in units for point in unit.get('points', ())],
        }
        value = substitute(turn['value'], *sequences, joined, self.preprocessor.formatter)
        return Turn({**turn, 'value': value})

    def fit(
        self, support: Sequence[PreparedItem], queries: Sequence[PreparedItem]
    ) -> tuple[int, list[TokenizedSegment], Sequence[ImageRun], Any]:
        """Stages 6 and 7: the most supports, counted from the query backwards, with which the episode fits.

        Returns their number, the segments, the run of each image, and the encoded images.
        """
        pictures = [image for item in (*support, *queries) for image in item.images]
        images, runs = self.encode_images(pictures)
        length = 0
        for kept in range(len(support), -1, -1):
            held = support[len(support) - kept :]
            shown = sum(len(item.images) for item in (*held, *queries))
            last = runs[len(runs) - shown :]
            segments, length = self.tokenize(held, queries, last)
            if length <= self.preprocessor.max_length and shown < len(pictures):
                # What stands for an image may depend on how many there are.
                images, last = self.encode_images(pictures[len(pictures) - shown :])
                segments, length = self.tokenize(held, queries, last)
            if length <= self.preprocessor.max_length:
                return kept, segments, last, images
        asked = sum(len(item.images) for item in queries)
        raise ValueError(
            f'query and answer alone have {length} tokens with {asked} images, more than the '
            f'{self.preprocessor.max_length} of model_max_length'
        )

    def encode_images(self, pictures: Sequence[Image.Image]) -> tuple[Any, Sequence[ImageRun]]:
        return self.preprocessor.encode_images(pictures) if pictures else (None, [])

    def tokenize(
        self, support: Sequence[PreparedItem], queries: Sequence[PreparedItem], runs: Sequence[ImageRun]
    ) -> tuple[list[TokenizedSegment], int]:
        """Segments of an episode, and its length in ids; in evaluation the last answer is left open."""
        segments = self.preprocessor.episode_template.segments(
            [item.turns for item in support], [item.turns for item in queries], answer_open=not self.training
        )
        placed = place_images(segments, runs, self.image_token)
        tokenized = [tokenize_segment(segment, self.preprocessor.tokenizer) for segment in placed]
        replaced = sum(len(run) - 1 for run in runs if not isinstance(run, str))
        return tokenized, sum(len(segment.input_ids) for segment in tokenized) + replaced

    def answer_ids(
        self,
        support: Sequence[PreparedItem],
        queries: Sequence[PreparedItem],
        text: str,
        prompt: TokenizedSegment,
        runs: Sequence[ImageRun],
    ) -> list[int]:
        """Ids of `text` as the answer to the open `prompt`, the last segment, with its end mark but no EOS."""
        turns = [*queries[-1].turns[:-1], Turn({**queries[-1].turns[-1], 'value': text, 'supervised': True})]
        closed = [*(item.turns for item in queries[:-1]), turns]
        segments = self.preprocessor.episode_template.segments([item.turns for item in support], closed)
        segment = replace(place_images(segments, runs, self.image_token)[-1], eos=False)
        tokens = tokenize_segment(segment, self.preprocessor.tokenizer)
        ids, start = tokens.input_ids, len(prompt.input_ids)
        if ids[:start] != prompt.input_ids:
            raise ValueError(
                f'the tokenizer merges the prompt with the answer {text!r}; its likelihood cannot be taken'
            )
        # A chat template goes on after the end mark, which is the last thing that the model writes.
        learnt = [place for place, supervised in enumerate(tokens.supervised) if supervised]
        return ids[start : learnt[-1] + 1] if learnt else ids[start:]


def clip_target(target: Target | None, size: tuple[int, int]) -> tuple[Target | None, int]:
    """Boxes and points of an item clipped to its image, and how many were; errors as in `grounding.geometry`."""
    if not target:
        return None, 0
    boxes, clipped_boxes = clip_boxes(target.get('boxes', []), *size)
    points, clipped_points = clip_points(target.get('points', []), *size)
    return {'boxes': boxes, 'points': points}, clipped_boxes + clipped_points


def resized(target: Target | None, old: tuple[int, int], new: tuple[int, int]) -> Target | None:
    """A target in pixels of an image of one size -> of the same image in another size."""
    if target is None or old == new:
        return target
    boxes = denormalise_boxes(normalise_boxes(target.get('boxes', []), *old), *new)
    points = denormalise_points(normalise_points(target.get('points', []), *old), *new)
    return {'boxes': boxes, 'points': points}


def frame_of(size: tuple[int, int], start: Point, stop: Point) -> list[float]:
    """The box, in pixels of an image, that 0..1 spans, from the places (0..1) of its upper left and lower right end."""
    lows, highs = [], []
    for length, low, high in zip(size, start, stop, strict=True):
        scale = length / (high - low)
        lows.append(-low * scale)
        highs.append((1 - low) * scale)
    return [*lows, *highs]


def answer_places(answer: Turn, target: Target) -> dict[str, Any]:
    """What the placeholders of an answer stand for, in pixels of the original image."""
    found = {}
    for key in ('boxes', 'points'):
        entries, sequence = target.get(key, []), answer.get(f'{key}_seq')
        if sequence:
            found[f'answer_{key}'] = [[list(map(float, entries[int(index)])) for index in group] for group in sequence]
    return found


def flat_indices(sequence: Any, counts: Sequence[int]) -> list[list[int]] | None:
    """Pairs (image, number) -> numbers through all images, which have `counts` entries."""
    if sequence is None:
        return None
    flat = []
    for group in sequence:
        for pair in group:
            if not names_one(pair, counts):
                raise ValueError(
                    f'{pair!r} names nothing: for a list of {len(counts)} images, each entry of boxes_seq and '
                    'points_seq is a pair (image, number), both from 0'
                )
        flat.append([sum(counts[:image]) + number for image, number in group])
    return flat


def names_one(pair: Any, counts: Sequence[int]) -> bool:
    """Whether a pair (image, number) names one of the entries, of which each image has `counts`."""
    if not isinstance(pair, Sequence) or len(pair) != 2:
        return False
    return is_index(pair[0], len(counts)) and is_index(pair[1], counts[pair[0]])
