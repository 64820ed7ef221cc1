"""Cases of the tokenizer alone: a text -> ids."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from mllm.models.tokens import add_tokens, load_tokenizer
from tests.golden.compare import Case

ADDED = ['<im_patch>', '<im_start>', '<im_end>']


@functools.cache
def tokenizer(folder: str) -> Any:
    """From the sentencepiece model beside the recorded files."""
    loaded = load_tokenizer(str(Path(folder, 'tokenizer')), 30000)
    add_tokens(loaded, ADDED)
    return loaded


def string(case: Case) -> list[int]:
    return tokenizer(case['folder'])(case['text'], add_special_tokens=case['add_special_tokens']).input_ids


RUNNERS = {'string': string}
