"""Stage 6 of a sample's way, first half: the turns of one item -> chunks of text, supervised or not.

A template is data: a system text, two role names and two separators.

    {system}{sep}USER: {question}{sep}ASSISTANT: {answer}{sep2}USER: ...

The texts are those of FastChat's templates that published LLaVA, Shikra and LCL checkpoints were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mllm.types import Chunk, Turn

HUMAN, ASSISTANT = 'human', 'gpt'


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
        head = self.opening()
        chunks = []
        for position in range(0, len(turns), 2):
            question, answer = turns[position], turns[position + 1]
            last = position + 2 == len(turns)
            head += self.ask(question['value'])
            if last and not answer['value']:
                chunks.append(Chunk(head))
                break
            end = self.sep2 if keep_end or not last else ''
            # The blank is the first thing the model has to write: a prompt ends before it.
            chunks += [Chunk(head), Chunk(f' {answer["value"]}{end}', answer.get('supervised', supervised))]
            head = ''
        return tuple(chunks)

    def opening(self) -> str:
        return self.system + self.sep

    def ask(self, question: str) -> str:
        """A question and all that stands before its answer."""
        return f'{self.roles[0]}: {question}{self.sep}{self.roles[1]}:'


@dataclass(frozen=True)
class BareTemplate(ConversationTemplate):
    """Questions and answers without roles or system text: `{question} {answer}{sep2}{question} ...`.

    Short, and an answer stands right behind its question: what a language model that was not trained on any protocol
    continues most readily.
    """

    system: str = ''
    sep2: str = '\n'

    def opening(self) -> str:
        return ''

    def ask(self, question: str) -> str:
        return question


def check_order(turns: Sequence[Turn]) -> None:
    """ValueError unless human and gpt alternate, human first, gpt last."""
    roles = [turn['from'] for turn in turns]
    expected = [HUMAN, ASSISTANT] * (len(roles) // 2)
    if not roles or roles != expected:
        raise ValueError(f"conversations must alternate 'human', 'gpt' and end with 'gpt'; these are {roles}")
