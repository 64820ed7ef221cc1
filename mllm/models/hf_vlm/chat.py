"""Stage 6 of a sample's way for models with a chat template, before it: which template, and how it is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import ProcessorMixin

from mllm.models.hf_vlm.arguments import ChatArgs
from mllm.models.hf_vlm.template import ChatEpisodeTemplate, Message, Render, message
from mllm.models.hf_vlm.vocabulary import own_bos, special_tokens

PART = "'type'"
"""In what a template writes of a message's parts if it takes them for text."""


def chat_template(processor: Any, options: ChatArgs, path: str) -> ChatEpisodeTemplate:
    """The protocol of a processor's own chat template, or of `options['chat_template']`; `path` is for errors."""
    tokenizer, system = processor.tokenizer, options.get('system')
    text = template_text(processor, options.get('chat_template'), path)
    write = partial(render, processor, text, options.get('template_args') or {})
    return ChatEpisodeTemplate(
        render=write,
        image_token=processor.image_token,
        special=special_tokens(tokenizer, processor.image_token),
        end=tokenizer.eos_token or '',
        bos=own_bos(tokenizer),
        few_shot=options.get('few_shot', 'turns'),
        system=system,
        plain=frozenset(role for role in ('system', 'assistant') if takes_text(write, role, system)),
    )


def template_text(processor: Any, given: str | None, path: str) -> str:
    """The chat template: the one given, that of the processor, or of its tokenizer."""
    if given is not None:
        # A file's name has no brace.
        return given if '{' in given else Path(given).read_text(encoding='utf-8')
    found = processor.chat_template or processor.tokenizer.chat_template
    if isinstance(found, dict):
        found = found.get('default')
    if not found:
        raise ValueError(f'{path} has no chat template; give model_args.conv_args.chat_template, a file or a text')
    return found


def render(
    processor: Any, template: str, template_args: Mapping[str, Any], messages: list[Message], generate: bool
) -> str:
    """The text of a conversation, see `template.Render`. ValueError if the template does not take it."""
    try:
        # Some classes override it, to read videos.
        return ProcessorMixin.apply_chat_template(
            processor, messages, template, tokenize=False, add_generation_prompt=generate, **template_args
        )
    except (TemplateError, TypeError) as error:
        roles = ', '.join(str(entry['role']) for entry in messages)
        raise ValueError(f'the chat template does not take a conversation of {roles}: {error}') from error


def takes_text(write: Render, role: str, system: str | None) -> bool:
    """Whether a template takes the messages of a role as text, where others take a list of parts."""
    if role == 'system' and system is None:
        return False
    first = [message('system', system)] if role == 'system' and system is not None else []
    try:
        text = write([*first, message('user', '?'), message('assistant', 'a')], False)
    except ValueError:
        return True
    return PART in text
