"""Stage 7 of a sample's way: segments -> input_ids and labels.

Labels come from character spans: a token is learnt if its offsets overlap a supervised chunk. An image placeholder is
one token until after tokenising; then its id is replaced by the run of ids that the model family gives the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mllm.types import IGNORE_INDEX, IMAGE_PLACEHOLDER, Segment

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizedSegment:
    """Ids of one segment and, for each, whether it is learnt. Placeholders are still single tokens."""

    input_ids: list[int]
    supervised: list[bool]


def tokenize_segment(segment: Segment, tokenizer: PreTrainedTokenizerBase, image_token: str) -> TokenizedSegment:
    """Tokenise a segment in one go; `<image>` in its text becomes `image_token`."""
    text, spans = '', []
    for chunk in segment.chunks:
        start = len(text)
        text += chunk.text.replace(IMAGE_PLACEHOLDER, image_token)
        if chunk.supervised and len(text) > start:
            spans.append((start, len(text)))
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = list(encoding['input_ids'])
    supervised = [
        any(first < stop and start < last for start, stop in spans) for first, last in encoding.offset_mapping
    ]
    if segment.bos:
        ids, supervised = [tokenizer.bos_token_id, *ids], [False, *supervised]
    return TokenizedSegment(ids, supervised)


def join_segments(
    segments: Sequence[TokenizedSegment], image_runs: Sequence[Sequence[int]], image_token_id: int
) -> tuple[list[int], list[int]]:
    """Concatenate segments and put each image's run of ids in place of its placeholder, in order of the prompt.

    Returns input_ids[L] and labels[L]; labels are the ids themselves where supervised, else -100, and -100 on images.
    ValueError if placeholders and images differ in number.
    """
    placeholders = sum(segment.input_ids.count(image_token_id) for segment in segments)
    if placeholders != len(image_runs):
        raise ValueError(
            f'the prompt has {placeholders} {IMAGE_PLACEHOLDER} placeholders for {len(image_runs)} images; '
            f'write {IMAGE_PLACEHOLDER} once for each image'
        )
    runs = iter(image_runs)
    ids: list[int] = []
    labels: list[int] = []
    for segment in segments:
        for token, supervised in zip(segment.input_ids, segment.supervised, strict=True):
            if token == image_token_id:
                run = next(runs)
                ids.extend(run)
                labels.extend([IGNORE_INDEX] * len(run))
            else:
                ids.append(token)
                labels.append(token if supervised else IGNORE_INDEX)
    return ids, labels
