"""The data that travels through mllm, stage by stage; imports nothing of ours.

    annotation line -> RawItem -> Episode -> [Segment of Chunks] -> Sample -> Batch -> Prediction

Images are PIL images up to `Preprocessor.encode_images`, tensors after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NotRequired, Required, TypedDict

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

IGNORE_INDEX = -100
IMAGE_PLACEHOLDER = '<image>'
BOXES_PLACEHOLDER = '<boxes>'
POINTS_PLACEHOLDER = '<points>'
EXPR_PLACEHOLDER = '<expr>'
OBJS_PLACEHOLDER = '<objs>'
QUESTION_PLACEHOLDER = '<question>'

Box = Sequence[float]
"""Four numbers x0, y0, x1, y1: pixels of the original image in a RawItem, 0..1 of the model's image in text."""
Point = Sequence[float]
"""Two numbers x, y; units as for Box."""


class Target(TypedDict, total=False):
    boxes: list[Box]
    points: list[Point]


IndexGroup = Sequence[int | tuple[int, int]]
"""What one placeholder stands for: numbers of boxes (or points) of the target; of an item with a list of images pairs
(image, number)."""

# Written as a call because `from` is a Python keyword.
Turn = TypedDict(
    'Turn',
    {
        'from': str,  # 'human' or 'gpt'
        'value': str,  # text with placeholders
        'boxes_seq': NotRequired[Sequence[IndexGroup] | None],  # per <boxes> in value: what of target['boxes']
        'points_seq': NotRequired[Sequence[IndexGroup] | None],
        'supervised': NotRequired[bool],  # overrides the template's choice for this answer
    },
)


class RawItem(TypedDict, total=False):
    """What a dataset returns for one annotation: the public contract that users' datasets fulfil.

    `image` may be missing or None for text-only items. An item with several has lists, of images and of one target (or
    None) for each, and `<image>` once for each in its questions. `meta` reaches the metric untouched; known keys:
    `id`, `candidates` (answers a closed-set score compares, `target` among them), `label`, `labels`, `image_path`.
    In evaluation the encoder adds what a metric needs to know of places, see `EpisodeEncoder`.
    """

    image: Image.Image | Sequence[Image.Image] | None
    target: Target | Sequence[Target | None] | None
    conversations: Required[list[Turn]]
    meta: dict[str, Any]


def images_of(item: RawItem) -> list[Image.Image]:
    """The images of an item, in the order of their placeholders."""
    image = item.get('image')
    if image is None:
        return []
    return list(image) if isinstance(image, Sequence) else [image]


def targets_of(item: RawItem) -> list[Target | None]:
    """The target of each image of an item."""
    target, images = item.get('target'), images_of(item)
    return list(target) if isinstance(target, Sequence) else [target] * len(images)


@dataclass(frozen=True)
class Episode:
    """A query and the support items shown before it; a plain sample has no support.

    `earlier_queries` are further queries on the same support, asked (and, in training, supervised) before `query`.
    An `indivisible` episode has an answer about all its supports, so none of them may be left out to make it fit.
    """

    query: RawItem
    support: tuple[RawItem, ...] = ()
    earlier_queries: tuple[RawItem, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    indivisible: bool = False

    @property
    def items(self) -> tuple[RawItem, ...]:
        """All items in the order of the prompt."""
        return (*self.support, *self.earlier_queries, self.query)


@dataclass(frozen=True)
class Chunk:
    """A stretch of text that is either learnt (supervised) or given."""

    text: str
    supervised: bool = False


@dataclass(frozen=True)
class Segment:
    """What is tokenised in one go. `item` is the position in `Episode.items` that truncation drops it with.

    `bos` and `eos` say whether the tokenizer's begin or end of sequence stands around it; the latter is learnt if the
    text before it is.
    """

    chunks: tuple[Chunk, ...]
    bos: bool
    item: int
    eos: bool = False

    @property
    def text(self) -> str:
        return ''.join(chunk.text for chunk in self.chunks)


@dataclass
class Sample:
    """One encoded episode. `images` is what `Preprocessor.encode_images` returned, None without images.

    In training `labels` has the length of `input_ids`; in evaluation `input_ids` is the prompt up to the answer,
    `labels` is empty, `target` is the answer alone, and `answers` holds the token ids of the target and of every
    candidate answer as they would follow `input_ids`, end mark included. `image_tokens` says how many of `input_ids`
    each of `images` fills: a model only sees the batch's total and would swap images between rows.
    """

    input_ids: list[int]
    labels: list[int]
    images: Any
    index: int
    target: str = ''
    image_tokens: Sequence[int] = ()
    answers: dict[str, list[int]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """Stands for a sample that could not be made, where `on_bad_sample='skip'`."""

    index: int
    reason: str


Batch = dict[str, Any]
"""Tensors by the model's argument names, plus `samples` (list[Sample], evaluation only: never sent to the model)."""


@dataclass
class Prediction:
    """One answer of the model. `score` maps each candidate answer to its mean log-likelihood per token."""

    index: int
    pred: str
    target: str
    meta: dict[str, Any] = field(default_factory=dict)
    score: dict[str, float] = field(default_factory=dict)


ImageRun = list[int] | str
"""What stands for an image in a sequence: ids, put in after tokenising, or a text that is tokenised with the rest."""

EncodeImages = Callable[[Sequence['Image.Image']], tuple[Any, Sequence[ImageRun]]]
"""PIL images -> (what `collate_images` takes, the run of each image). Runs may depend on all images of the sample."""

TokenInputs = Callable[[Sequence[int]], Mapping[str, Sequence[int]]]
"""input_ids[L] of a sample -> further inputs of the model by name, [L] each; padding gets 0."""


@dataclass(frozen=True)
class Preprocessor:
    """All that the data path needs of a model family; holds no weights.

    episode_template  `conversation.episode_template.EpisodeTemplate`
    formatter         box formatter of `mllm.grounding.formatter`
    transform         callable (image, target, rng) -> (image, target): the geometry the model wants, or None
    encode_images     see `EncodeImages`
    collate_images    list of the batch's `Sample.images` (None entries allowed) -> dict of tensors for the model
    image_token_id    id that an image's embeddings replace; where runs are ids, also that of the one-token placeholder
    max_length        longest sequence in tokens
    end_token_ids     after these the model has written its answer; empty: the tokenizer's end of sequence
    token_inputs      see `TokenInputs`, None for models that need no such inputs
    save              writes to a folder what a saved model needs beside weights and tokenizer, None for nothing
    """

    tokenizer: PreTrainedTokenizerBase
    episode_template: Any
    formatter: Any
    transform: Callable[..., tuple[Image.Image, Target | None]] | None
    encode_images: EncodeImages
    collate_images: Callable[[Sequence[Any]], Mapping[str, Tensor]]
    image_token_id: int
    max_length: int
    end_token_ids: tuple[int, ...] = ()
    token_inputs: TokenInputs | None = None
    save: Callable[[str], None] | None = None
