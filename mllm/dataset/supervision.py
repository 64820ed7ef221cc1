"""Stage 7 of a sample's way: segments -> input_ids and labels.

Labels come from character spans: a token is learnt if its offsets overlap a supervised chunk. What stands for an image
is its family's choice: a text, which is tokenised with the rest as the model's own processor would, or a run of ids;
then the placeholder is one token until after tokenising, and its id is replaced by the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mllm.types import IGNORE_INDEX, IMAGE_PLACEHOLDER, Chunk, ImageRun, Segment

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizedSegment:
    """Ids of one segment and, for each, whether it is learnt. Placeholders are still single tokens."""

    input_ids: list[int]
    supervised: list[bool]


def place_images(segments: Sequence[Segment], runs: Sequence[ImageRun], image_token: str) -> list[Segment]:
    """Segments with each `<image>` replaced, in order of the prompt, by its text, or by `image_token` for a run of ids.

    ValueError if placeholders and images differ in number.
    """
    placeholders = sum(segment.text.count(IMAGE_PLACEHOLDER) for segment in segments)
    if placeholders != len(runs):
        raise ValueError(
            f'the prompt has {placeholders} {IMAGE_PLACEHOLDER} placeholders for {len(runs)} images; '
            f'write {IMAGE_PLACEHOLDER} once for each image'
        )
    texts = iter(run if isinstance(run, str) else image_token for run in runs)
    return [
        replace(segment, chunks=tuple(with_images(chunk, texts) for chunk in segment.chunks)) for segment in segments
    ]


def with_images(chunk: Chunk, texts: Iterator[str]) -> Chunk:
    first, *others = chunk.text.split(IMAGE_PLACEHOLDER)
    return replace(chunk, text=first + ''.join(next(texts) + other for other in others))


def tokenize_segment(segment: Segment, tokenizer: PreTrainedTokenizerBase) -> TokenizedSegment:
    """Tokenise a segment in one go."""
    text, spans = '', []
    for chunk in segment.chunks:
        start = len(text)
        text += chunk.text
        if chunk.supervised and len(text) > start:
            spans.append((start, len(text)))
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = list(encoding['input_ids'])
    supervised = [
        any(first < stop and start < last for start, stop in spans) for first, last in encoding.offset_mapping
    ]
    if segment.bos:
        ids, supervised = [tokenizer.bos_token_id, *ids], [False, *supervised]
    if segment.eos:
        ids, supervised = [*ids, tokenizer.eos_token_id], [*supervised, supervised[-1]]
    return TokenizedSegment(ids, supervised)


def join_segments(
    segments: Sequence[TokenizedSegment], runs: Sequence[ImageRun], image_token: str, image_token_id: int
) -> tuple[list[int], list[int]]:
    """Concatenate segments and put each image's run of ids in place of its placeholder, in order of the prompt.

    Returns input_ids[L] and labels[L]; labels are the ids themselves where supervised, else -100, and -100 on images.
    ValueError if a text of the sample holds `image_token` itself.
    """
    found = sum(segment.input_ids.count(image_token_id) for segment in segments)
    wanted = sum(run.count(image_token) if isinstance(run, str) else 1 for run in runs)
    if found < wanted:
        raise ValueError(
            f'the tokenizer makes {image_token} an image token {found} times of {wanted}; it must be special'
        )
    if found > wanted:
        raise ValueError(
            f'{found} times {image_token} where the images stand for {wanted}: a question or an answer holds the own '
            f'token of the model for images; write {IMAGE_PLACEHOLDER} for an image, and leave {image_token} out'
        )
    places: Iterator[Any] = iter([[image_token_id]] * found if runs and isinstance(runs[0], str) else runs)
    ids: list[int] = []
    labels: list[int] = []
    for segment in segments:
        for token, supervised in zip(segment.input_ids, segment.supervised, strict=True):
            if token == image_token_id:
                run = next(places)
                ids.extend(run)
                labels.extend([IGNORE_INDEX] * len(run))
            else:
                ids.append(token)
                labels.append(token if supervised else IGNORE_INDEX)
    return ids, labels
