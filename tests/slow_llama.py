"""The tokenizer that published LLaVA-v1 checkpoints were trained with, restated on sentencepiece's own encoder."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece

ADDED = ['<im_patch>', '<im_start>', '<im_end>']
OWN = ['<unk>', '<s>', '</s>']
WORDS = [
    'there is "kit fox" in the image.',
    'USER:',
    'ASSISTANT:',
    '[0.1,0.25]',
    'What',
    '  ',
    ' ',
    '\n',
    '\u72d0',
    'caf\u00e9',
]


def train(**changes: Any) -> bytes:
    """A small BPE model with LLaMA's settings."""
    model = io.BytesIO()
    sentences = [f'{word} {other}' for word in WORDS for other in WORDS if word.strip() and other.strip()] * 4
    settings = {
        'vocab_size': 400,
        'model_type': 'bpe',
        'byte_fallback': True,
        'split_digits': True,
        'normalization_rule_name': 'identity',
        'remove_extra_whitespaces': False,
        'hard_vocab_limit': False,
        'minloglevel': 2,
        **changes,
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=model, **settings)
    return model.getvalue()


def write_tokenizer(folder: Path) -> Path:
    """The files of a published checkpoint: `tokenizer.model` and `added_tokens.json`."""
    (folder / 'tokenizer.model').write_bytes(train())
    size = sentencepiece.SentencePieceProcessor(model_file=str(folder / 'tokenizer.model')).vocab_size()
    ids = {token: size + number for number, token in enumerate(ADDED)}
    # In no order, as published: json writes a dict as it was.
    (folder / 'added_tokens.json').write_text(json.dumps(dict(reversed(ids.items()))))
    (folder / 'config.json').write_text('{"model_type": "llama"}')
    return folder


def slow_ids(processor: Any, text: str) -> list[int]:
    """What transformers 4 returned: text cut at special tokens, each stretch encoded alone."""
    size = processor.vocab_size()
    numbers = {**{token: processor.piece_to_id(token) for token in OWN}, **{t: size + n for n, t in enumerate(ADDED)}}
    ids, stretch, position = [], '', 0
    strip = False
    while position <= len(text):
        token = next((token for token in numbers if text.startswith(token, position)), None)
        if token is None and position < len(text):
            stretch, position = stretch + text[position], position + 1
            continue
        stretch = stretch.lstrip() if strip else stretch
        stretch = stretch.rstrip() if token in ADDED else stretch
        ids += processor.encode(stretch) if stretch else []
        if token is None:
            break
        ids.append(numbers[token])
        stretch, strip, position = '', token in ADDED, position + len(token)
    return ids
