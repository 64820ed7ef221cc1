"""Templates: the text of a conversation, and which of it is learnt."""

import pytest

from mllm.conversation.template import ConversationTemplate, PromptTemplate
from mllm.registry import TEMPLATES
from mllm.types import Chunk, Turn

TWO_ROUNDS = [
    Turn({'from': 'human', 'value': 'Hi'}),
    Turn({'from': 'gpt', 'value': 'Hello'}),
    Turn({'from': 'human', 'value': 'Bye'}),
    Turn({'from': 'gpt', 'value': 'See you'}),
]


def text(chunks: tuple[Chunk, ...]) -> str:
    return ''.join(chunk.text for chunk in chunks)


def test_vicuna_is_written_as_published_checkpoints_expect():
    chunks = TEMPLATES.get('vicuna_v1.1').render(TWO_ROUNDS, supervised=True)
    assert text(chunks) == (
        'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, '
        "detailed, and polite answers to the user's questions. "
        'USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT: See you</s>'
    )
    assert [chunk.text for chunk in chunks if chunk.supervised] == [' Hello</s>', ' See you</s>']


def test_an_empty_last_answer_is_left_open():
    turns = [*TWO_ROUNDS[:3], Turn({'from': 'gpt', 'value': ''})]
    chunks = ConversationTemplate('S').render(turns, supervised=True)
    assert text(chunks) == 'S USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT:'


def test_keep_end_drops_only_the_last_mark():
    chunks = ConversationTemplate('').render(TWO_ROUNDS, supervised=False, keep_end=False)
    assert text(chunks) == ' USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT: See you'


def test_a_turn_may_overrule_the_default():
    turns = [*TWO_ROUNDS[:1], Turn({'from': 'gpt', 'value': 'Hello', 'supervised': False}), *TWO_ROUNDS[2:]]
    chunks = ConversationTemplate('').render(turns, supervised=True)
    assert [chunk.text for chunk in chunks if chunk.supervised] == [' See you</s>']


@pytest.mark.parametrize('roles', [[], ['gpt', 'human'], ['human'], ['human', 'human'], ['human', 'gpt', 'human']])
def test_turns_out_of_order_are_refused(roles: list[str]):
    turns = [Turn({'from': role, 'value': 'x'}) for role in roles]
    with pytest.raises(ValueError, match='alternate'):
        ConversationTemplate('').render(turns, supervised=True)


def test_an_unknown_template_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'vicuna_v1\.1'"):
        TEMPLATES.get('vicuna_v1')


@pytest.mark.parametrize(
    ('question', 'written'),
    [
        ('<image>What is it?', '<image>Q:What is it? A:'),
        ('What is in <image>?', '<image>Q:What is in? A:'),
        ('<image>\n<image>\nWhich?', '<image><image>Q:Which? A:'),
        ('Which {images} of {question}\\1?', 'Q:Which {images} of {question}\\1? A:'),
        ('', 'Q: A:'),
    ],
)
def test_a_prompt_is_written_around_the_question_images_first(question: str, written: str):
    turns = [Turn({'from': 'human', 'value': question}), Turn({'from': 'gpt', 'value': 'yes'})]
    chunks = PromptTemplate('{images}Q:{question} A:').render(turns, supervised=True)
    assert chunks == (Chunk(written), Chunk('yes<|endofchunk|>', supervised=True))


def test_prompts_follow_on_each_other_and_the_last_may_be_open():
    template = PromptTemplate('[{question}]', blank=' ', end='|')
    assert text(template.render(TWO_ROUNDS, supervised=True)) == '[Hi] Hello|[Bye] See you|'
    assert text(template.render(TWO_ROUNDS, supervised=True, keep_end=False)) == '[Hi] Hello|[Bye] See you'
    turns = [*TWO_ROUNDS[:3], Turn({'from': 'gpt', 'value': ''})]
    assert text(template.render(turns, supervised=True)) == '[Hi] Hello|[Bye]'
    with pytest.raises(ValueError, match='alternate'):
        template.render(TWO_ROUNDS[1:], supervised=True)
