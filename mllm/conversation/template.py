"""Stage 6 of a sample's way, first half: the turns of one item -> chunks of text, supervised or not.

A template is data: a system text, two role names and two separators,

    {system}{sep}USER: {question}{sep}ASSISTANT: {answer}{sep2}USER: ...

as in FastChat's templates that published LLaVA, Shikra and LCL checkpoints were trained with; or a text around each
question, as in OpenFlamingo's and Otter's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mllm.types import IMAGE_PLACEHOLDER, Chunk, Turn

HUMAN, ASSISTANT = 'human', 'gpt'


class Template(Protocol):
    """How the turns of one item are written; `ConversationTemplate.render` says what the arguments mean."""

    def render(self, turns: Sequence[Turn], supervised: bool, keep_end: bool = True) -> tuple[Chunk, ...]: ...


@dataclass(frozen=True)
class ConversationTemplate:
    """How the turns of one item are written. `sep` ends questions, `sep2` ends answers."""

    system: str
    roles: tuple[str, str] = ('USER', 'ASSISTANT')
    sep: str = ' '
    sep2: str = '</s>'

    def render(self, turns: Sequence[Turn], supervised: bool, keep_end: bool = True) -> tuple[Chunk, ...]:
        """Chunks of the conversation; each answer, with the blank before it and its `sep2`, is one chunk.

        An answer is supervised if its turn says so, otherwise if `supervised`. A last answer that is the empty string
        is left open: the text ends with the assistant's role, ready to be continued. `keep_end` False drops
        the last `sep2`. ValueError if human and gpt do not take turns, human first.
        """
        check_order(turns)
        head = self.system + self.sep
        chunks = []
        for position in range(0, len(turns), 2):
            question, answer = turns[position], turns[position + 1]
            last = position + 2 == len(turns)
            head += f'{self.roles[0]}: {question["value"]}{self.sep}{self.roles[1]}:'
            if last and not answer['value']:
                chunks.append(Chunk(head))
                break
            end = self.sep2 if keep_end or not last else ''
            # The blank is the first thing the model has to write: a prompt ends before it.
            chunks += [Chunk(head), Chunk(f' {answer["value"]}{end}', answer.get('supervised', supervised))]
            head = ''
        return tuple(chunks)


@dataclass(frozen=True)
class PromptTemplate:
    """Every question with its answer is one text around them, its images first (OpenFlamingo, Otter).

    prompt   text before the answer; `{images}` stands for the placeholders of the question's images, `{question}` for
             the rest of the question
    blank    between prompt and answer
    end      ends answers, and is learnt with them
    tokens   what of these texts is one token each, for a tokenizer that does not have it yet
    """

    prompt: str
    blank: str = ''
    end: str = '<|endofchunk|>'
    tokens: tuple[str, ...] = ('<|endofchunk|>',)

    def render(self, turns: Sequence[Turn], supervised: bool, keep_end: bool = True) -> tuple[Chunk, ...]:
        """Chunks of the conversation, as `ConversationTemplate.render` makes them."""
        check_order(turns)
        chunks = []
        for position in range(0, len(turns), 2):
            question, answer = turns[position], turns[position + 1]
            last = position + 2 == len(turns)
            chunks.append(Chunk(self.write(question['value'])))
            if last and not answer['value']:
                break
            end = self.end if keep_end or not last else ''
            chunks.append(Chunk(f'{self.blank}{answer["value"]}{end}', answer.get('supervised', supervised)))
        return tuple(chunks)

    def write(self, question: str) -> str:
        """The text before an answer."""
        images = IMAGE_PLACEHOLDER * question.count(IMAGE_PLACEHOLDER)
        rest = re.sub(rf'\s*{re.escape(IMAGE_PLACEHOLDER)}', '', question).strip()
        # In one pass: a question may hold braces of its own.
        return re.sub(r'\{(images|question)\}', lambda found: images if found[1] == 'images' else rest, self.prompt)


def check_order(turns: Sequence[Turn]) -> None:
    """ValueError unless human and gpt alternate, human first, gpt last."""
    roles = [turn['from'] for turn in turns]
    expected = [HUMAN, ASSISTANT] * (len(roles) // 2)
    if not roles or roles != expected:
        raise ValueError(f"conversations must alternate 'human', 'gpt' and end with 'gpt'; these are {roles}")
