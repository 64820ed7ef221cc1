"""The templates, as data. A new one is one entry here, or `TEMPLATES.register_module(name)(...)` anywhere.

The system sentences are protocol: published checkpoints were trained with exactly these characters.
"""

from __future__ import annotations

from mllm.conversation.template import ConversationTemplate, PromptTemplate
from mllm.registry import EPISODE_TEMPLATES, TEMPLATES

_CHAT = 'A chat between a curious user and an artificial intelligence assistant. '
_HYPNOTIZED = 'You are hypnotized and '

CONVERSATION_TEMPLATES = {
    'vicuna_v1.1': ConversationTemplate(
        _CHAT + "The assistant gives helpful, detailed, and polite answers to the user's questions."
    ),
    'causal_v1.0': ConversationTemplate(
        'You should find the causal relationship between the examples I am going to show you. '
        'And use that to answer to the [FINAL QUESTION].'
    ),
    # No system text, but the separator after it: the text starts with a blank.
    'hypnotized_ans_v1.0': ConversationTemplate(''),
    'hypnotized_v1.0': ConversationTemplate(
        _HYPNOTIZED + 'I will tell you some new knowledge. Please note that this knowledge is limited to this '
        'conversation we are having and learn the cause and effect relationships.'
    ),
    'hypnotized_v1.1': ConversationTemplate(
        _HYPNOTIZED + 'use the knowledge you learnt from the previous conversation to answer the following question: '
    ),
    # With the spelling of the original.
    'icl_v1.0': ConversationTemplate(
        _CHAT + 'The answer is not strictly right, the assitant should find the relationship in the conversation and '
        'gives answers according to the examples.'
    ),
    # The system text ends with a blank of its own, so two blanks stand before the role.
    'final_v1.0': ConversationTemplate('[FINAL QUESTION]: '),
}

_ANSWER = '<answer>'
_OTTER_TOKENS = ('<|endofchunk|>', _ANSWER)

PROMPT_TEMPLATES = {
    # OpenFlamingo: what it is trained with, and its prompts for captions and classes, questions, and hateful memes.
    'openflamingo': PromptTemplate('{images}'),
    'openflamingo_caption': PromptTemplate('{images}Output:'),
    'openflamingo_vqa': PromptTemplate('{images}Question:{question} Short answer:'),
    'openflamingo_hateful_memes': PromptTemplate('{images}{question} Answer:'),
    # Otter is trained without blanks, and its demo has them.
    'otter': PromptTemplate('{images}User:{question} GPT:' + _ANSWER, tokens=_OTTER_TOKENS),
    'otter_spaced': PromptTemplate('{images}User: {question} GPT:' + _ANSWER, blank=' ', tokens=_OTTER_TOKENS),
}
# For base language models, which copy what stood behind an equal thing: nothing but image and label, a pair a line.
_BARE = PromptTemplate('{images}{question}', blank=' ', end='\n', tokens=())

PROTOCOLS = {
    # Link-Context Learning: the first support carries the instruction and keeps its end mark, later ones do not.
    'link_context': {
        'first_support': {'template': 'causal_v1.0'},
        'support': {'template': 'hypnotized_ans_v1.0', 'keep_end': False},
        'query': {'template': 'final_v1.0', 'supervised': True},
    },
    # The same for its episodes of V3Det.
    'link_context_v3det': {
        'first_support': {'template': 'hypnotized_v1.0'},
        'support': {'template': 'hypnotized_ans_v1.0', 'keep_end': False},
        'query': {'template': 'hypnotized_v1.1', 'supervised': True},
    },
    'pairs': {
        'first_support': {'template': 'bare', 'bos': False},
        'support': {'template': 'bare', 'bos': False},
        'query': {'template': 'bare', 'bos': False, 'supervised': True},
    },
}

# One sequence with one BOS, whose every answer is learnt, those of the supports too.
PROTOCOLS |= {
    name: {
        'first_support': {'template': name, 'supervised': True},
        'support': {'template': name, 'bos': False, 'supervised': True},
        'query': {'template': name, 'bos': False, 'supervised': True},
        'eos': True,
    }
    for name in PROMPT_TEMPLATES
}

for _name, _template in {**CONVERSATION_TEMPLATES, **PROMPT_TEMPLATES, 'bare': _BARE}.items():
    TEMPLATES.register_module(_name)(_template)
for _name, _places in PROTOCOLS.items():
    EPISODE_TEMPLATES.register_module(_name)(_places)
