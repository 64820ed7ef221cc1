"""The published link-context protocol, character by character."""

from mllm.conversation.episode_template import build_episode_template
from mllm.types import Segment, Turn

TEMPLATE = build_episode_template({})
CAUSAL = (
    'You should find the causal relationship between the examples I am going to show you. '
    'And use that to answer to the [FINAL QUESTION].'
)


def support(label: str) -> list[Turn]:
    question = '[BEGIN EXAMPLE] What is in the image <image>?'
    return [
        Turn({'from': 'human', 'value': question}),
        Turn({'from': 'gpt', 'value': f'there is "{label}" in the image. [END EXAMPLE]'}),
    ]


def query(label: str) -> list[Turn]:
    return [
        Turn({'from': 'human', 'value': 'What is in the image <image>?'}),
        Turn({'from': 'gpt', 'value': f'there is "{label}" in the image.'}),
    ]


def supervised(segments: list[Segment]) -> list[str]:
    return [chunk.text for segment in segments for chunk in segment.chunks if chunk.supervised]


def test_training_text_of_a_two_shot_episode():
    segments = TEMPLATE.segments([support('ab'), support('cd')], [query('ab')])
    assert [segment.text for segment in segments] == [
        f'{CAUSAL} USER: [BEGIN EXAMPLE] What is in the image <image>? '
        'ASSISTANT: there is "ab" in the image. [END EXAMPLE]</s>',
        ' USER: [BEGIN EXAMPLE] What is in the image <image>? ASSISTANT: there is "cd" in the image. [END EXAMPLE]',
        '[FINAL QUESTION]:  USER: What is in the image <image>? ASSISTANT: there is "ab" in the image.</s>',
    ]
    assert all(segment.bos for segment in segments)
    assert supervised(segments) == [' there is "ab" in the image.</s>']


def test_evaluation_leaves_only_the_last_answer_open():
    segments = TEMPLATE.segments([support('ab')], [query('ab'), query('cd')], answer_open=True)
    assert segments[-1].text.endswith('ASSISTANT:')
    assert segments[-2].text.endswith('there is "ab" in the image.</s>')
    assert supervised(segments) == [' there is "ab" in the image.</s>']


def test_an_item_alone_is_a_plain_conversation():
    (segment,) = build_episode_template({'conv_template': 'vicuna_v1.1'}).segments([], [query('dog')])
    assert segment.text.startswith('A chat between a curious user')
    assert supervised([segment]) == [' there is "dog" in the image.</s>']


def test_published_prompt_of_v3det():
    template = build_episode_template({'episode_template': 'link_context_v3det'})
    segments = template.segments([support('ab'), support('cd')], [query('ab')])
    starts = ('You are hypnotized and I will tell', ' USER: [BEGIN', 'You are hypnotized and use the knowledge')
    assert all(segment.text.startswith(start) for segment, start in zip(segments, starts, strict=True))
    assert [segment.text.endswith('</s>') for segment in segments] == [True, False, True]
    assert supervised(segments) == [' there is "ab" in the image.</s>']


def test_pairs_are_a_question_and_its_answer_a_line():
    template = build_episode_template({'conv_template': 'bare', 'episode_template': 'pairs'})
    turns = [[Turn({'from': 'human', 'value': '<image>'}), Turn({'from': 'gpt', 'value': name})] for name in 'abc']
    segments = template.segments(turns[:2], turns[2:])
    assert [segment.text for segment in segments] == ['<image> a\n', '<image> b\n', '<image> c\n']
    assert not any(segment.bos for segment in segments)
    assert supervised(segments) == [' c\n']
    assert template.segments(turns[:2], turns[2:], answer_open=True)[-1].text == '<image>'


def test_otter_writes_one_sequence_with_one_bos_and_learns_every_answer_and_the_end():
    template = build_episode_template({'conv_template': 'otter', 'episode_template': 'otter'})
    turns = query('ab')
    segments = template.segments([turns, turns], [turns])
    assert [segment.bos for segment in segments] == [True, False, False]
    assert [segment.eos for segment in segments] == [False, False, True]
    assert supervised(segments) == ['there is "ab" in the image.<|endofchunk|>'] * 3
    (alone,) = template.segments([], [turns])
    assert (alone.bos, alone.eos) == (True, True)
    opened = template.segments([turns], [turns], answer_open=True)
    assert not any(segment.eos for segment in opened)
