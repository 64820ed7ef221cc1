"""Stage 6 of a sample's way for models with a chat template: an episode -> one conversation -> one segment.

    support, queries       -> exchanges (question, answer, supervised)       `few_shot`: as turns, or in one question
    exchanges              -> messages of image and text parts               -> rendered by the model's own template
    rendered with answers  -> where each answer lies, to its end mark        -> chunks

A template may rewrite what it is given: strip an answer, or drop the thoughts of earlier ones, so that an answer is
not found by its text, nor by rendering the messages before it. Each conversation is therefore rendered twice, as it is
and with marks in place of its answers: what lies between the marks is fixed, and what the first rendering has between
the same fixed pieces is what the template made of the answers.

The last answer is written after the prompt of evaluation (`add_generation_prompt`), whatever header the template puts
before answers that it is given: a model must be trained on the prompt that it will see.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mllm.models.hf_vlm.vocabulary import SpecialTokens
from mllm.types import IMAGE_PLACEHOLDER, Chunk, Segment, Turn

Message = dict[str, Any]
Render = Callable[[list[Message], bool], str]
"""(messages, whether the text ends where an answer begins) -> text with the model's own image tokens."""

MARK = 'zqanswer{}qz'
"""Stands for an answer: letters and digits only, which no template changes."""
GIVEN = '{}\n{}\n\n'
"""A support in one question with others, by few_shot='one_turn'."""


@dataclass(frozen=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str
    supervised: bool = False


@dataclass(frozen=True)
class ChatEpisodeTemplate:
    """The prompt protocol of a model with a chat template; takes the place of an `EpisodeTemplate`.

    render       the chat template, see `Render`
    image_token  what it writes for an image
    special      the tokens that no text of an item may contain
    end          the end of sequence token, which a model learns to write where its template ends no answer
    bos          what the tokenizer puts in front of a text that does not begin with it, '' for nothing
    few_shot     'turns': each support is a question and an answer of its own; 'one_turn': all are in the first question
    system       text of a system message, None for the template's own choice
    plain        the roles whose messages the template takes as text, not as a list of parts
    """

    render: Render
    image_token: str
    special: SpecialTokens
    end: str
    bos: str = ''
    few_shot: str = 'turns'
    system: str | None = None
    plain: Collection[str] = ()

    def segments(
        self, support: Sequence[Sequence[Turn]], queries: Sequence[Sequence[Turn]], answer_open: bool = False
    ) -> list[Segment]:
        """The one segment of an episode. `answer_open` leaves the last answer to the model.

        Answers of queries are supervised unless their turn says otherwise, those of supports only if it says so;
        in one question with others they are never learnt.
        """
        shown = [exchange for item in support for exchange in exchanges_of(item, False)]
        asked = [exchange for item in queries for exchange in exchanges_of(item, True)]
        self.check([*shown, *asked])
        if self.few_shot == 'one_turn':
            given = ''.join(GIVEN.format(exchange.question, exchange.answer) for exchange in shown)
            shown, asked = [], [replace(asked[0], question=given + asked[0].question), *asked[1:]]
        chunks = self.chunks([*shown, *asked], answer_open)
        bos = bool(self.bos) and not chunks[0].text.startswith(self.bos)
        return [Segment(tuple(self.with_placeholders(chunks)), bos, len(support) + len(queries) - 1)]

    def chunks(self, exchanges: Sequence[Exchange], answer_open: bool) -> list[Chunk]:
        """The text of a conversation, cut where answers begin and end."""
        marked = [replace(exchange, answer=MARK.format(number)) for number, exchange in enumerate(exchanges)]
        prompt, pieces = self.prompt(exchanges), self.pieces(self.prompt(marked), marked[:-1])
        chunks, position = [], 0
        for exchange, (start, stop), after in zip(
            exchanges, self.align(prompt, pieces, exchanges[:-1]), pieces[1:], strict=False
        ):
            stop += len(self.special.leading(after))
            chunks += [Chunk(prompt[position:start]), Chunk(prompt[start:stop], exchange.supervised)]
            position = stop
        chunks.append(Chunk(prompt[position:]))
        return chunks if answer_open else [*chunks, *self.last(exchanges, marked, prompt)]

    def last(self, exchanges: Sequence[Exchange], marked: Sequence[Exchange], prompt: str) -> list[Chunk]:
        """What follows the prompt: the last answer to its end mark, and what the template writes after that."""
        closed, pieces = self.conversation(exchanges), self.pieces(self.conversation(marked), marked)
        if closed.startswith(prompt):
            start = len(prompt)
        else:
            start = self.align(closed, pieces, exchanges)[-1][0]
        after = pieces[-1]
        stop = len(closed) - len(after)
        answer = closed[start:stop]
        if not closed.endswith(after) or not holds(answer, exchanges[-1].answer):
            raise self.lost(exchanges[-1])
        mark = self.special.leading(after)
        if not mark:
            return [Chunk(answer + after + self.end, exchanges[-1].supervised)]
        return [Chunk(answer + mark, exchanges[-1].supervised), Chunk(after[len(mark) :])]

    def end_mark(self) -> str:
        """The token that ends an answer."""
        exchange = Exchange('?', MARK.format(0))
        after = self.pieces(self.conversation([exchange]), [exchange])[-1]
        return self.special.leading(after).strip() or self.end

    # ---- rendering ----

    def prompt(self, exchanges: Sequence[Exchange]) -> str:
        """The text of a conversation up to its last answer."""
        return self.rendered(self.messages(exchanges)[:-1], exchanges, True)

    def conversation(self, exchanges: Sequence[Exchange]) -> str:
        """The text of a whole conversation."""
        return self.rendered(self.messages(exchanges), exchanges, False)

    def rendered(self, messages: list[Message], exchanges: Sequence[Exchange], generate: bool) -> str:
        text = self.render(messages, generate)
        wanted = sum(exchange.question.count(IMAGE_PLACEHOLDER) for exchange in exchanges)
        if text.count(self.image_token) != wanted:
            raise ValueError(
                f'the chat template writes {text.count(self.image_token)} {self.image_token} for {wanted} images; '
                'give conv_args.chat_template, a text or a file, that writes one for each'
            )
        return text

    def messages(self, exchanges: Sequence[Exchange]) -> list[Message]:
        """Messages in the form that chat templates of processors take: a role, and parts of content."""
        messages = [] if self.system is None else [message('system', self.system)]
        for exchange in exchanges:
            messages += [message('user', exchange.question), message('assistant', exchange.answer)]
        return [self.as_taken(entry) for entry in messages]

    def as_taken(self, entry: Message) -> Message:
        """A message in the form that the template takes its role's in."""
        if entry['role'] not in self.plain:
            return entry
        return {**entry, 'content': ''.join(part['text'] for part in entry['content'])}

    def with_placeholders(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Chunks with `<image>` where the template wrote the model's own image token; empty ones are left out."""
        return [
            replace(chunk, text=chunk.text.replace(self.image_token, IMAGE_PLACEHOLDER))
            for chunk in chunks
            if chunk.text
        ]

    # ---- finding answers ----

    def pieces(self, text: str, marked: Sequence[Exchange]) -> list[str]:
        """What lies before, between and after the marks; ValueError if the template does not write each once."""
        pieces = []
        for exchange in marked:
            before, found, text = text.partition(exchange.answer)
            if not found or exchange.answer in text:
                raise ValueError(
                    f'the chat template writes the answer to {exchange.question!r:.80} '
                    f'{"more than once" if found else "nowhere"}; give conv_args.chat_template, a text or a file, that '
                    'writes each answer once, in order'
                )
            pieces.append(before)
        return [*pieces, text]

    def align(self, text: str, pieces: Sequence[str], exchanges: Sequence[Exchange]) -> list[tuple[int, int]]:
        """Where in `text` the answers lie, which has `pieces` before, between and after them: start and stop."""
        spans, position = [], len(pieces[0])
        if not text.startswith(pieces[0]):
            raise self.lost(exchanges[0])
        for number, (exchange, after) in enumerate(zip(exchanges, pieces[1:], strict=True), start=1):
            stop = end_of(text, position, exchange.answer, after, number == len(exchanges))
            if stop is None:
                raise self.lost(exchange)
            spans.append((position, stop))
            position = stop + len(after)
        return spans

    def lost(self, exchange: Exchange) -> ValueError:
        return ValueError(
            f'the chat template changes the answer {exchange.answer!r:.80} to {exchange.question!r:.80} so that it '
            'cannot be told from the rest; give conv_args.chat_template, a text or a file, that keeps it'
        )

    def check(self, exchanges: Sequence[Exchange]) -> None:
        """ValueError if a text contains a special token: the model would take it for what only the template writes."""
        texts = [self.system or '']
        for exchange in exchanges:
            # One part after the other: a question's own placeholders may be the model's image token.
            texts += [*exchange.question.split(IMAGE_PLACEHOLDER), exchange.answer]
        found = sorted({token for text in texts for token in self.special.within(text)})
        if found:
            raise ValueError(
                f'a question or an answer contains {", ".join(found)}, which this model takes for more than text; '
                f'leave it out, and write {IMAGE_PLACEHOLDER} in a question for an image'
            )


def exchanges_of(turns: Sequence[Turn], supervised: bool) -> list[Exchange]:
    """The turns of an item, human and gpt by turns, as pairs."""
    return [
        Exchange(question['value'], answer['value'], answer.get('supervised', supervised))
        for question, answer in zip(turns[::2], turns[1::2], strict=True)
    ]


def message(role: str, text: str) -> Message:
    """A message; each `<image>` of its text becomes a part of its own."""
    first, *others = text.split(IMAGE_PLACEHOLDER)
    parts: list[dict[str, str]] = [{'type': 'text', 'text': first}] if first or not others else []
    for other in others:
        parts.append({'type': 'image'})
        if other:
            parts.append({'type': 'text', 'text': other})
    return {'role': role, 'content': parts}


def end_of(text: str, start: int, answer: str, after: str, last: bool) -> int | None:
    """Where an answer that begins at `start` ends; `after` follows, to the end of the text if it is the `last`."""
    for form in (answer, answer.strip(), answer.rstrip(), answer.lstrip()):
        stop = start + len(form)
        if text.startswith(form + after, start) and (not last or stop + len(after) == len(text)):
            return stop
    stop = len(text) - len(after) if last and text.endswith(after) else text.find(after, start)
    # A template may leave out a part of an answer, but it does not make one up.
    while stop >= start:
        if holds(answer, text[start:stop]):
            return stop
        stop = -1 if last else text.find(after, stop + 1)
    return None


def holds(text: str, part: str) -> bool:
    """Whether `part` lies within `text`, white space apart."""
    return ''.join(part.split()) in ''.join(text.split())
