"""Stage 6 of a sample's way for models with a chat template: the tokens that only the template may write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from transformers import PreTrainedTokenizerBase


class SpecialTokens:
    """Texts that a tokenizer takes for one special token each, wherever they stand."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = sorted({token for token in tokens if token}, key=lambda token: (-len(token), token))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches one token, the longest that fits; there may be thousands, hence the look at the first letter."""
        firsts = ''.join(sorted({token[0] for token in self.tokens}))
        return re.compile(f'(?=[{re.escape(firsts)}])(?:{"|".join(map(re.escape, self.tokens))})')

    def within(self, text: str) -> list[str]:
        """All tokens in a text."""
        return self.pattern.findall(text)

    def leading(self, text: str) -> str:
        """The token that a text begins with, and the white space before it; '' if it begins with none."""
        start = len(text) - len(text.lstrip())
        match = self.pattern.match(text, start)
        return text[: match.end()] if match else ''


def special_tokens(tokenizer: PreTrainedTokenizerBase, *more: str) -> SpecialTokens:
    """The special tokens of a tokenizer, and `more`."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return SpecialTokens([*tokenizer.all_special_tokens, *added, *more])


def own_bos(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that the tokenizer puts in front of every text, '' if it puts none."""
    ids = tokenizer('a')['input_ids']
    return str(tokenizer.bos_token) if ids and ids[0] == tokenizer.bos_token_id else ''
