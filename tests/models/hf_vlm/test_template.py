"""Episodes as conversations: every answer is found in what a template makes of it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mllm.models.hf_vlm.template import ChatEpisodeTemplate, Message
from mllm.models.hf_vlm.vocabulary import SpecialTokens
from mllm.types import Chunk, Segment, Turn

Change = Callable[[str, int, int], str]
"""(answer, its number from 0, number of answers in the conversation) -> what a template writes."""

SPECIAL = SpecialTokens(['<eos>', '<end>', '<img>'])


def without_thoughts(answer: str, number: int, count: int) -> str:
    return answer if number == count - 1 else re.sub(r'(?s)<think>.*</think>\s*', '', answer)


CHANGES: dict[str, Change] = {
    'none': lambda answer, *_: answer,
    'strip': lambda answer, *_: answer.strip(),
    'lstrip': lambda answer, *_: answer.lstrip(),
    'no_thoughts': without_thoughts,
    'empty_thoughts': lambda answer, number, count: '<think></think>' * (number == count - 1) + answer,
}


def renderer(change: Change, end: str = '<end>\n', image: str = '<img>') -> Callable[[list[Message], bool], str]:
    def render(messages: list[Message], generate: bool) -> str:
        text, number, count = '', 0, sum(message['role'] == 'assistant' for message in messages) + generate
        for message in messages:
            parts = [image if part['type'] == 'image' else part['text'] for part in message['content']]
            said = ''.join(parts)
            if message['role'] == 'assistant':
                said, number = change(said, number, count), number + 1
            text += f'{message["role"]}: {said}{end}'
        return text + ('assistant: ' if generate else '')

    return render


def template(change: Change = CHANGES['none'], end: str = '<end>\n', **options: Any) -> ChatEpisodeTemplate:
    return ChatEpisodeTemplate(renderer(change, end), '<img>', SPECIAL, end='<eos>', **options)


def turns(*pairs: tuple[str, str], **more: Any) -> list[Turn]:
    found = []
    for question, answer in pairs:
        found += [Turn({'from': 'human', 'value': question}), Turn({'from': 'gpt', 'value': answer})]
        found[-1].update(more)  # type: ignore[typeddict-item]
    return found


def learnt(segment: Segment) -> list[str]:
    return [chunk.text for chunk in segment.chunks if chunk.supervised]


# Texts that look like what the template writes, and like the changes it makes.
TEXTS = st.lists(
    st.sampled_from(['a', ' ', '\n', 'user: ', 'assistant: ', '<think>', '</think>', ':', 'b b', '\u00e9']), max_size=8
).map(''.join)
ITEMS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3)


@pytest.mark.parametrize('name', ['none', 'strip', 'lstrip'])
@given(support=st.lists(ITEMS, max_size=3), query=ITEMS)
def test_the_chunks_are_the_rendered_text_and_answers_are_told_apart(name: str, support: Any, query: Any):
    change = CHANGES[name]
    made = template(change)
    [segment] = made.segments([turns(*item) for item in support], [turns(*query)])
    pairs = [pair for item in [*support, query] for pair in item]
    expected = ''.join(f'user: {question}<end>\nassistant: {change(said, 0, 0)}<end>\n' for question, said in pairs)
    assert segment.text == expected
    assert learnt(segment) == [f'{change(said, 0, 0)}<end>' for _, said in query]
    [prompt] = made.segments([turns(*item) for item in support], [turns(*query)], answer_open=True)
    assert prompt.text == expected[: len(expected) - len(f'{change(query[-1][1], 0, 0)}<end>\n')]
    assert not any(chunk.supervised for chunk in prompt.chunks[-1:])


@pytest.mark.parametrize('name', ['no_thoughts', 'empty_thoughts'])
@given(said=st.lists(st.sampled_from(['yes', 'no <b>', '<think>hm</think>\n\nyes', '<think>a\n</think>b']), min_size=1))
def test_answers_that_a_template_rewrites(name: str, said: list[str]):
    change, count = CHANGES[name], len(said)
    made = template(change)
    asked = [turns(('q?', answer), supervised=True) for answer in said]
    [segment] = made.segments(asked[:-1], asked[-1:])
    assert learnt(segment) == [f'{change(answer, n, count)}<end>' for n, answer in enumerate(said)]


def test_who_is_learnt():
    support, query = turns(('1', 'a')), turns(('2', 'b'), ('3', 'c'))
    assert learnt(template().segments([support], [query])[0]) == ['b<end>', 'c<end>']
    query[1]['supervised'] = False
    support[1]['supervised'] = True
    assert learnt(template().segments([support], [query])[0]) == ['a<end>', 'c<end>']
    assert learnt(template().segments([support], [query], answer_open=True)[0]) == ['a<end>']
    earlier = turns(('2', 'b'))
    assert learnt(template().segments([support], [earlier, query])[0]) == ['a<end>', 'b<end>', 'c<end>']


def test_an_image_stands_where_the_template_writes_it():
    [segment] = template().segments([turns(('<image>what?', 'a'))], [turns(('and <image><image>\n', 'b'))])
    assert segment.text.startswith('user: <image>what?<end>\n')
    assert 'user: and <image><image>\n<end>\n' in segment.text
    assert segment.item == 1
    assert not segment.bos


def test_all_supports_in_one_question():
    made = template(few_shot='one_turn', system='Be brief.')
    support = [turns(('<image>what?', 'a'), ('more?', 'b'), supervised=True), turns(('c', 'd'))]
    [segment] = made.segments(support, [turns(('<image>?', 'e'))])
    assert segment.text == (
        'system: Be brief.<end>\nuser: <image>what?\na\n\nmore?\nb\n\nc\nd\n\n<image>?<end>\nassistant: e<end>\n'
    )
    assert learnt(segment) == ['e<end>']


def test_where_a_template_ends_no_answer_the_end_of_sequence_is_learnt():
    made = template(end='\n')
    [segment] = made.segments([turns(('q', 'a'), supervised=True)], [turns(('q', 'b'))])
    assert segment.text == 'user: q\nassistant: a\nuser: q\nassistant: b\n<eos>'
    assert learnt(segment) == ['a', 'b\n<eos>']
    assert made.end_mark() == '<eos>'
    assert template().end_mark() == '<end>'


def test_the_last_answer_follows_the_prompt_of_evaluation():
    """This template ends its prompt in another way than the header it puts before answers."""

    def render(messages: list[Message], generate: bool) -> str:
        return renderer(CHANGES['none'])(messages, generate) + ('<think></think>' if generate else '')

    made = ChatEpisodeTemplate(render, '<img>', SPECIAL, end='<eos>')
    [segment] = made.segments([turns(('q', 'a'))], [turns(('q', 'b'))])
    [prompt] = made.segments([turns(('q', 'a'))], [turns(('q', 'b'))], answer_open=True)
    assert segment.text == prompt.text + 'b<end>\n'
    assert prompt.text.endswith('<end>\nassistant: <think></think>')


def test_a_beginning_of_sequence_is_not_written_twice():
    def render(messages: list[Message], generate: bool) -> str:
        return '<s>' * bool(messages[0]['content'][0]['text'] == 'with') + renderer(CHANGES['none'])(messages, generate)

    made = ChatEpisodeTemplate(render, '<img>', SPECIAL, end='<eos>', bos='<s>')
    assert made.segments([], [turns(('without', 'a'))])[0].bos
    assert not made.segments([], [turns(('with', 'a'))])[0].bos


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda *_: '', 'writes the answer to .* nowhere'),
        (lambda answer, *_: answer * 2, 'more than once'),
        (lambda answer, number, _: answer if answer.startswith('zq') else f'never {number}', 'cannot be told'),
    ],
)
def test_a_template_that_hides_answers_is_named(change: Change, message: str):
    with pytest.raises(ValueError, match=message) as error:
        template(change).segments([turns(('q1', 'a'))], [turns(('q2', 'b'))])
    assert 'conv_args.chat_template' in str(error.value)


def test_a_template_that_writes_no_images_is_named():
    made = ChatEpisodeTemplate(renderer(CHANGES['none'], image=''), '<img>', SPECIAL, end='<eos>')
    with pytest.raises(ValueError, match='writes 0 <img> for 1 images'):
        made.segments([], [turns(('<image>', 'a'))])


@pytest.mark.parametrize('pair', [('<img>?', 'a'), ('q', 'a<end>'), ('x <eos><end>', 'a')])
def test_texts_with_special_tokens_are_refused(pair: tuple[str, str]):
    with pytest.raises(ValueError, match=r'contains <e|contains <img>'):
        template().segments([turns(('q', 'a'))], [turns(pair)])
    with pytest.raises(ValueError, match='contains'):
        template(few_shot='one_turn').segments([turns(pair)], [turns(('q', 'a'))])


def test_special_tokens():
    tokens = SpecialTokens(['<a>', '<a><b>', '[c]', ''])
    assert tokens.within('x<a><b>[c]<b><a>') == ['<a><b>', '[c]', '<a>']
    assert [tokens.leading(text) for text in ('<a>x', ' \n<a><b>', 'x<a>', '', ' ')] == ['<a>', ' \n<a><b>', '', '', '']


def test_chunks_are_never_empty():
    [segment] = template().segments([], [turns(('q', ''))])
    assert segment.chunks == (Chunk('user: q<end>\nassistant: '), Chunk('<end>', True), Chunk('\n'))
