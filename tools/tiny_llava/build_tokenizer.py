"""Build the tiny model's tokenizer: `python tools/tiny_llava/build_tokenizer.py [--out data/tiny_llava]`.

The vocabulary is closed: the special tokens, one token per printable ASCII character and the newline, and one token
per phrase of the link-context prompts. A prompt is short, labels and names are spelt letter by letter, and every
ASCII text can be read back exactly, with exact character offsets. Other characters become `<unk>`, one each.
"""

from __future__ import annotations

import argparse
import re
import string
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = {'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>', 'pad_token': '<pad>'}
IMAGE_TOKENS = ['<image>', '<im_patch>']
CHARACTERS = sorted(set(string.printable) - set('\t\r\x0b\x0c'))

PHRASES = [
    # System texts: no sample reads inside them, so one token each.
    'You should find the causal relationship between the examples I am going to show you. '
    'And use that to answer to the [FINAL QUESTION].',
    'A chat between a curious user and an artificial intelligence assistant. '
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    '[FINAL QUESTION]:',
    ' USER:',
    ' ASSISTANT:',
    # Questions and answers. What stands between an image and its label is three tokens: `?`, role, ` there is "`.
    ' [BEGIN EXAMPLE]',
    ' What is in the image ',
    ' Based on the previous examples, what is in the image ',
    ' there is "',
    ' there is',
    '" in the image.',
    ' in the image',
    ' [END EXAMPLE]',
]
MAX_LENGTH = 4096


def piece_pattern(phrases: Sequence[str]) -> str:
    """Regular expression whose matches, left to right, are the tokens of a text: a phrase, else one character.

    Longer phrases come first. A phrase never begins or ends inside a word.
    """
    alternatives = []
    for phrase in sorted(phrases, key=len, reverse=True):
        before = r'(?<![A-Za-z0-9])' if phrase[0].isalnum() else ''
        after = r'(?![A-Za-z0-9])' if phrase[-1].isalnum() else ''
        alternatives.append(before + re.escape(phrase) + after)
    return '|'.join([*alternatives, r'[\s\S]'])


def build_tokenizer(phrases: Sequence[str] = PHRASES) -> PreTrainedTokenizerFast:
    """The tokenizer with a token per phrase; it adds no special tokens by itself: prompts are tokenised in pieces."""
    special = [*SPECIAL_TOKENS.values(), *IMAGE_TOKENS]
    vocabulary = {token: index for index, token in enumerate([*special, *CHARACTERS, *phrases])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS['unk_token']))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(piece_pattern(phrases)), behavior='isolated')
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL_TOKENS,
        additional_special_tokens=IMAGE_TOKENS,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
        padding_side='right',
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the tiny model's tokenizer.")
    parser.add_argument('--out', type=Path, default=Path(__file__).parents[2] / 'data' / 'tiny_llava')
    args = parser.parse_args()
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(args.out)
    print(f'{args.out}: {len(tokenizer)} tokens')


if __name__ == '__main__':
    main()
