"""The tiny model with drawn weights on the small world, and one of its evaluation datasets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import set_seed

from mllm.config.config import load_config
from mllm.dataset.builder import prepare_data
from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.models.builder import load_model, load_preprocessor
from mllm.types import Preprocessor


@pytest.fixture
def parts(write_config: Callable[..., Path]) -> tuple[Any, Preprocessor, SingleImageConvDataset]:
    # Prompts and answers of different lengths, so that batches are padded.
    policy = "dict(type='link_context', names='mixed', word_length=(1, 6), negatives='easy')"
    lengths = f"dict(shot=dict(type='uniform', low=1, high=3), policy={policy})"
    cfg = load_config(str(write_config(f"data_args['multitest']['two']['cfg'].update({lengths})")))
    preprocessor = load_preprocessor(cfg.model_args)
    set_seed(3)
    model = load_model(cfg.model_args, preprocessor).eval()
    dataset = prepare_data(cfg.data_args, preprocessor, 0, ['multitest'])['multitest_two']
    return model, preprocessor, dataset
