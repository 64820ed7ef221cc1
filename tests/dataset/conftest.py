"""A preprocessor without a model: the shipped tiny tokenizer, images stood for by their size and mean colour."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from mllm.conversation.episode_template import build_episode_template
from mllm.dataset.transform import Expand2square
from mllm.grounding.formatter import PlainBoxFormatter
from mllm.types import Preprocessor, RawItem, Turn

TOKENIZER = Path(__file__).parents[2] / 'data' / 'tiny_llava'
TOKENS_PER_IMAGE = 3


@pytest.fixture(scope='session')
def make_preprocessor() -> Callable[..., Preprocessor]:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    image_token = tokenizer.convert_tokens_to_ids('<image>')

    def encode_images(images: Sequence[Image.Image]) -> tuple[torch.Tensor, list[list[int]]]:
        pixels = torch.tensor([[*image.size, *image.resize((1, 1)).getpixel((0, 0))] for image in images])
        return pixels, [[image_token] * TOKENS_PER_IMAGE for _ in images]

    def make(max_length: int = 4096, transform: object = None) -> Preprocessor:
        return Preprocessor(
            tokenizer=tokenizer,
            episode_template=build_episode_template({}),
            formatter=PlainBoxFormatter(),
            transform=transform or Expand2square(),
            encode_images=encode_images,
            collate_images=lambda images: {'pixel_values': torch.cat([i for i in images if i is not None])},
            image_token_id=image_token,
            max_length=max_length,
        )

    return make


@pytest.fixture(scope='session')
def preprocessor(make_preprocessor: Callable[..., Preprocessor]) -> Preprocessor:
    return make_preprocessor()


@pytest.fixture
def make_item() -> Callable[..., RawItem]:
    def make(label: str, colour: tuple[int, int, int] = (200, 30, 30), question: str = '', **meta: object) -> RawItem:
        turns = [
            Turn({'from': 'human', 'value': question or 'What is in the image <image>?'}),
            Turn({'from': 'gpt', 'value': f'there is "{label}" in the image.'}),
        ]
        return RawItem(image=Image.new('RGB', (8, 8), colour), conversations=turns, meta=dict(meta))

    return make
