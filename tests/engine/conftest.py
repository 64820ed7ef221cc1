"""A tiny random LLaVA, a preprocessor for it and made-up samples; the two-process script imports these too."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.utils.data import Dataset
from transformers import (
    CLIPVisionConfig,
    Lfm2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Seq2SeqTrainingArguments,
)

from mllm.types import IGNORE_INDEX, Preprocessor, Sample
from mllm.utils.rng import item_rng

PAD, BOS, EOS, IMAGE, FIRST_WORD, VOCAB = 0, 1, 2, 3, 4, 32
IMAGE_TOKENS = 4


def make_preprocessor() -> Preprocessor:
    words = ['<pad>', '<s>', '</s>', '<image>', *(f'w{i}' for i in range(FIRST_WORD, VOCAB))]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token='<pad>')),
        pad_token='<pad>',
        bos_token='<s>',
        eos_token='</s>',
    )
    return Preprocessor(
        tokenizer=tokenizer,
        episode_template=None,
        formatter=None,
        transform=None,
        encode_images=lambda images: (images, []),
        collate_images=collate_images,
        image_token_id=IMAGE,
        max_length=128,
    )


def collate_images(images: Any) -> dict[str, torch.Tensor]:
    given = [tensor for tensor in images if tensor is not None]
    return {'pixel_values': torch.cat(given)} if given else {}


def make_model(text: str = 'llama', dropout: float = 0.0, seed: int = 0) -> LlavaForConditionalGeneration:
    sizes = {'hidden_size': 32, 'num_hidden_layers': 2, 'intermediate_size': 48, 'num_attention_heads': 2}
    if text == 'llama':
        text_config = LlamaConfig(vocab_size=VOCAB, **sizes, attention_dropout=dropout, initializer_range=0.2)
    else:
        text_config = Lfm2Config(
            vocab_size=VOCAB,
            **sizes,
            num_key_value_heads=2,
            layer_types=['conv', 'full_attention'],
            conv_bias=True,
            block_auto_adjust_ff_dim=False,
            tie_word_embeddings=True,
            initializer_range=0.2,
        )
    vision = CLIPVisionConfig(**sizes, image_size=32, patch_size=16)
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config,
        image_token_id=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=text != 'llama',
    )
    model = LlavaForConditionalGeneration(config)
    # As in LLaVA v1: a projector that plain from_pretrained would drop, with statistics as buffers.
    projector = torch.nn.Linear(32, 32)
    projector.register_buffer('feature_mean', torch.randn(32))
    model.model.multi_modal_projector = projector
    return model


class SyntheticDataset(Dataset):
    """(epoch, index) -> a sample with 0 to 2 images, 2 to 6 words and an answer of 1 to 3 words."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        rng = item_rng(0, epoch, index, 'synthetic')
        count = index % 3
        ids = [BOS]
        for _ in range(count):
            ids += [FIRST_WORD, *[IMAGE] * IMAGE_TOKENS]
        ids += rng.integers(FIRST_WORD, VOCAB, rng.integers(2, 7)).tolist()
        answer = [*rng.integers(FIRST_WORD, FIRST_WORD + 3, rng.integers(1, 4)).tolist(), EOS]
        pixels = torch.from_numpy(rng.standard_normal((count, 3, 32, 32)).astype(np.float32)) if count else None
        labels = [IGNORE_INDEX] * len(ids) + answer
        return Sample([*ids, *answer], labels, pixels, index, image_tokens=[IMAGE_TOKENS] * count)


def make_args(folder: Path | str, **changes: Any) -> Seq2SeqTrainingArguments:
    defaults: dict[str, Any] = {
        'output_dir': str(folder),
        'use_cpu': True,
        'disable_tqdm': True,
        'per_device_train_batch_size': 4,
        'max_steps': 4,
        'learning_rate': 1e-2,
        'logging_steps': 1,
        'save_strategy': 'no',
        'seed': 7,
    }
    return Seq2SeqTrainingArguments(**defaults | changes)


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def logs_reach_caplog(monkeypatch):
    """Whatever an entry script that ran in this process has set up."""
    monkeypatch.setattr(logging.getLogger('mllm'), 'propagate', True)


@pytest.fixture(scope='session')
def preprocessor() -> Preprocessor:
    return make_preprocessor()


@pytest.fixture(scope='session')
def tiny() -> SimpleNamespace:
    """The builders above by short names."""
    return SimpleNamespace(model=make_model, args=make_args, dataset=SyntheticDataset)
