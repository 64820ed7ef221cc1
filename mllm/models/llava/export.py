"""After stage 9 of a sample's way: a LLaVA in the layouts of others.

original   the old one, `legacy.py`: pytorch_model-*.bin and a flat config.json
hf         llava-hf's, which transformers of all versions and other engines load: linear_1, act, linear_2
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from string import Template
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import CLIPVisionConfig, LlavaProcessor, PreTrainedTokenizerBase

from mllm.conversation.template import PromptTemplate
from mllm.models.llava.arguments import TOWER
from mllm.models.llava.legacy import IDS, LEGACY_FIELD, PROJECTORS, old_name
from mllm.models.llava.projector import PROJECTOR_FIELD
from mllm.types import Preprocessor
from mllm.utils.weight_files import SHARD_BYTES, write_bins

WORDS = ('lm_head.weight', 'model.language_model.embed_tokens.weight')
HF_NAMES = (
    ('model.language_model.', 'language_model.model.'),
    ('lm_head.', 'language_model.lm_head.'),
    (f'{TOWER}.', 'vision_tower.vision_model.'),
    ('model.multi_modal_projector.', 'multi_modal_projector.'),
)
HF_PROJECTORS = {'linear': {'': 'linear_1.'}, 'mlp2x_gelu': {'0.': 'linear_1.', '2.': 'linear_2.'}}
CHAT_TEMPLATE = (
    '{{ $head }}{% for message in messages %}'
    "{% if message['role'] == 'user' %}{{ $user }}{% else %}{{ $open + ' ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ $image }}{% else %}{{ part['text'] }}{% endif %}"
    '{% endfor %}{% endif %}'
    "{% if message['role'] == 'user' %}{{ $sep }}{% else %}{{ $sep2 }}{% endif %}"
    '{% endfor %}{% if add_generation_prompt %}{{ $open }}{% endif %}'
)


PROMPT_TEMPLATE = (
    '{{ $head }}{% for message in messages %}{% set text = namespace(images=0, words="") %}'
    "{% if message['content'] is string %}{% set text.words = message['content'] %}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{% set text.images = text.images + 1 %}"
    "{% else %}{% set text.words = text.words + part['text'] %}{% endif %}"
    '{% endfor %}{% endif %}'
    "{% if message['role'] == 'user' %}$prompt{% else %}{{ $blank + text.words + $end }}{% endif %}"
    '{% endfor %}'
)


def check_exportable(model: Any, layout: str) -> None:
    """ValueError that lists what a layout of others cannot hold."""
    config = model.config
    projector = getattr(config, PROJECTOR_FIELD)['name']
    faults = []
    if projector not in PROJECTORS:
        faults.append(f'a {projector!r} projector; there are {", ".join(PROJECTORS)}')
    if not isinstance(config.vision_config, CLIPVisionConfig):
        faults.append(f'a vision tower of type {config.vision_config.model_type}, only CLIP')
    if layout == 'original' and config.text_config.model_type != 'llama':
        faults.append(f'a language model of type {config.text_config.model_type}, only LLaMA')
    if faults:
        raise ValueError(f'the layout {layout!r} cannot hold ' + '; nor '.join(faults))


def old_weights(model: Any, with_tower: bool) -> dict[str, Tensor]:
    """The weights of a model under the names of the old layout, without the rows that its import added."""
    rows = kept_rows(model)
    found = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(f'{TOWER}.') and not with_tower:
            continue
        found[old_name(name)] = (tensor[:rows] if name in WORDS else tensor).contiguous()
    return found


def old_fields(model: Any, tokenizer: PreTrainedTokenizerBase, tower: str | None, marks: bool) -> dict[str, Any]:
    """A config.json of the old layout for a model; that of its import if it came in it, with the ids repaired."""
    config = model.config
    text = config.text_config
    plain = {key: value for key, value in text.to_dict().items() if value is not None}
    full = config.vision_feature_select_strategy == 'full'
    made = {
        **plain,
        'architectures': ['LlavaLlamaForCausalLM'],
        'model_type': 'llava',
        'use_mm_proj': True,
        'mm_hidden_size': config.vision_config.hidden_size,
        'mm_projector_type': getattr(config, PROJECTOR_FIELD)['name'],
        'mm_vision_select_layer': config.vision_feature_layer,
        'mm_vision_select_feature': 'cls_patch' if full else 'patch',
        'mm_use_im_start_end': marks,
        'mm_vision_tower': tower,
        'tie_word_embeddings': config.tie_word_embeddings,
    }
    came_as = getattr(config, LEGACY_FIELD, None) or {}
    ids = {name: getattr(tokenizer, name) for name in IDS}
    named = {} if tower is None else {'mm_vision_tower': tower}
    return {**made, **came_as, **ids, **named, 'vocab_size': kept_rows(model)}


def kept_rows(model: Any) -> int:
    """Rows of the embeddings in the old layout: without the one that the import of a v1.5 added for its image token."""
    rows = len(model.get_input_embeddings().weight)
    old = (getattr(model.config, LEGACY_FIELD, None) or {}).get('vocab_size')
    return rows - 1 if old == model.config.image_token_id == rows - 1 else rows


def write_old(
    model: Any, tokenizer: PreTrainedTokenizerBase, folder: str, tower: str | None, marks: bool, with_tower: bool
) -> None:
    """Write a folder of the old layout: pytorch_model.bin shards of up to 5 GB with their index, and config.json.

    tower       what config.json names as the image encoder
    marks       whether prompts have <im_start> and <im_end>
    with_tower  write the tower's weights too: where they are not the published ones
    """
    check_exportable(model, 'original')
    fields = old_fields(model, tokenizer, tower, marks)
    write_bins(old_weights(model, with_tower), folder)
    Path(folder, 'config.json').write_text(json.dumps(fields, indent=2, default=str), encoding='utf-8')
    tokenizer.save_pretrained(folder)


def hf_weights(model: Any) -> dict[str, Tensor]:
    """The weights of a model under llava-hf's names; a linear projector becomes linear_1 with an identity after it."""
    projector = getattr(model.config, PROJECTOR_FIELD)['name']
    found = {hf_name(name): tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        found.pop('language_model.lm_head.weight')
    for old, new in HF_PROJECTORS[projector].items():
        for kind in ('weight', 'bias'):
            found[f'multi_modal_projector.{new}{kind}'] = found.pop(f'multi_modal_projector.{old}{kind}')
    if projector == 'linear':
        first = found['multi_modal_projector.linear_1.weight']
        found['multi_modal_projector.linear_2.weight'] = torch.eye(len(first), dtype=first.dtype, device=first.device)
        found['multi_modal_projector.linear_2.bias'] = torch.zeros_like(first[:, 0])
    return found


def hf_name(name: str) -> str:
    for old, new in HF_NAMES:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def write_hf(model: Any, preprocessor: Preprocessor, folder: str) -> None:
    """Write a folder that plain `LlavaForConditionalGeneration.from_pretrained` and `LlavaProcessor` load."""
    check_exportable(model, 'hf')
    config = deepcopy(model.config)
    linear = getattr(config, PROJECTOR_FIELD)['name'] == 'linear'
    for name in (PROJECTOR_FIELD, LEGACY_FIELD):
        if name in vars(config):
            delattr(config, name)
    config.projector_hidden_act = 'linear' if linear else 'gelu'
    config.architectures = ['LlavaForConditionalGeneration']
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_torch_state_dict(hf_weights(model), folder, max_shard_size=SHARD_BYTES)
    encoder: Any = preprocessor.encode_images
    tokenizer = preprocessor.tokenizer
    LlavaProcessor(
        image_processor=encoder.processor,
        tokenizer=tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        image_token=str(tokenizer.convert_ids_to_tokens(preprocessor.image_token_id)),
        num_additional_image_tokens=1,
        chat_template=chat_template(preprocessor),
    ).save_pretrained(folder)


def chat_template(preprocessor: Preprocessor) -> str:
    """The conversation template of plain samples as transformers writes one, in Jinja."""
    place, tokenizer = preprocessor.episode_template.single, preprocessor.tokenizer
    encoder: Any = preprocessor.encode_images
    # Of the run of an image its marks, and one token that the processor repeats.
    run = tokenizer.convert_ids_to_tokens(list(dict.fromkeys(encoder.run)))
    image, bos, written = ''.join(run), tokenizer.bos_token if place.bos else '', place.template
    if isinstance(written, PromptTemplate):
        filled = {'images': f'{{{{ {json.dumps(image)} * text.images }}}}', 'question': '{{ text.words | trim }}'}
        parts = re.split(r'\{(images|question)\}', written.prompt)
        prompt = ''.join(filled[part] if n % 2 else f'{{{{ {json.dumps(part)} }}}}' for n, part in enumerate(parts))
        texts = {'head': bos, 'blank': written.blank, 'end': written.end}
        quoted = {name: json.dumps(text) for name, text in texts.items()}
        return Template(PROMPT_TEMPLATE).substitute(quoted, prompt=prompt)
    user, assistant = written.roles
    texts = {
        'head': bos + written.system + written.sep,
        'user': f'{user}: ',
        'image': image,
        'sep': written.sep,
        'open': f'{assistant}:',
        'sep2': written.sep2,
    }
    return Template(CHAT_TEMPLATE).substitute({name: json.dumps(text) for name, text in texts.items()})
