"""The words of the emoji scenes' questions and answers, as phrases for `build_tokenizer.build_tokenizer`."""

from __future__ import annotations

from collections.abc import Iterable

SYSTEM = (
    'A chat between a curious user and an artificial intelligence assistant. '
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
QUESTIONS = (
    # Behind <image> and a blank, or at the start of a later turn.
    *('Where is', 'What is at', 'What is this?', 'What color is this?', 'What can be seen, and where?', 'How many'),
    *('Which is', ' Candidates:', 'answer in box format.', ' are there?'),
)
ANSWERS = (' Answer:', ' The answer is', ' and', 'and', ' a', ' an', ' two', ' three')
PLACES = (' the', ' thing', ' things', ' left', ' right', ' top', ' bottom', ' of', ' above', ' below')


def scene_phrases(names: Iterable[str], plurals: Iterable[str], colours: Iterable[str]) -> list[str]:
    """One phrase, hence one token, for each word; names and colours stand behind a blank."""
    # Also without a blank: the end of an answer, or of a box, takes it.
    roles = (SYSTEM, ' USER:', 'USER:', ' ASSISTANT:', 'ASSISTANT:')
    words = (f' {word}' for word in (*names, *plurals, *colours))
    return list(dict.fromkeys([*roles, *QUESTIONS, *ANSWERS, *PLACES, *words]))
