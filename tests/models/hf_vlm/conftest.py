"""Tiny models of drawn weights with the tokens, templates and processor files that published ones of their kind have."""
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoImageProcessor, PreTrainedTokenizerFast
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

CORPUS = [
    'What is in the image? There is a "dax" in the image.',
    'system user assistant model You are a helpful assistant. Here is the original image and some crops',
    'to help you see better\n\nUser: Assistant:\n think',
]

QWEN_MARKS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|vision_start|>', '<|vision_end|>', '<|image_pad|>', '<|video_pad|>']
QWEN = """{% for message in messages -%}
{% if loop.first and message.role != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# Thoughts of all answers but those after the last question are left out; the last answer always has some.
THINKING = """{% set ns = namespace(last=0) %}{% for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% set ns.text = '' %}{% for part in message.content %}{% if part.type == 'image' %}{% set ns.text = ns.text + '<|vision_start|><|image_pad|><|vision_end|>' %}{% else %}{% set ns.text = ns.text + part.text %}{% endif %}{% endfor %}
{%- if message.role == 'assistant' %}{% set thought = '' %}{% set said = ns.text %}{% if '</think>' in said %}{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\\n') %}{% set said = said.split('</think>')[-1].lstrip('\\n') %}{% endif %}
{%- if loop.index0 > ns.last %}{{ '<think>\\n' + thought + '\\n</think>\\n\\n' + said.lstrip('\\n') }}{% else %}{{ said }}{% endif %}{% else %}{{ ns.text }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""
INTERN = """{% for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'image' %}<IMG_CONTEXT>
{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
IDEFICS = """<|im_start|>{% for message in messages %}{{ message.role | capitalize }}{% if message.content[0].type == 'image' %}:{% else %}: {% endif %}{% for part in message.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"""
GEMMA = """{{ bos_token }}{% set ns = namespace(first='') %}{% if messages[0].role == 'system' %}{% set ns.first = messages[0].content[0].text + '\\n\\n' %}{% set messages = messages[1:] %}{% endif %}
{%- for message in messages -%}
{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif -%}
<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}
{% if loop.first %}{{ ns.first }}{% endif %}{% for part in message.content %}{% if part.type == 'image' %}<start_of_image>{% else %}{{ part.text | trim }}{% endif %}{% endfor %}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""
ONEVISION = """{% for message in messages %}<|im_start|>{{ message.role + ' ' }}{% for part in message.content | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}{% for part in message.content | selectattr('type', 'equalto', 'text') %}{{ '\\n' + part.text }}{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

TEXT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3)
SIGLIP = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=8)
CHATML = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
ROWS = [f'<row_{row}_col_{col}>' for row in range(1, 5) for col in range(1, 5)]
IDEFICS_MARKS = ['<|endoftext|>', '<|im_start|>', '<end_of_utterance>', '<fake_token_around_image>', '<image>', '<global-img>', *ROWS]
GEMMA_MARKS = ['<pad>', '<eos>', '<bos>', '<start_of_turn>', '<end_of_turn>', '<start_of_image>', '<end_of_image>', '<image_soft_token>']
INTERN_MARKS = [*CHATML, '<img>', '</img>', '<IMG_CONTEXT>', '<video>']


@dataclass(frozen=True)
class Kind:
    """A model type: its special tokens, chat template, the settings of its processor and the shape of a tiny one."""

    marks: list[str]
    template: str
    config: dict[str, Any]
    image_processor: dict[str, Any]
    processor: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    plain: list[str] = field(default_factory=list)


QWEN_IMAGES = dict(patch_size=8, merge_size=2, size={'shortest_edge': 16 * 16, 'longest_edge': 48 * 48})
QWEN_TEXT = {**TEXT, 'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e4, 'mrope_section': [4, 2, 2]}}
QWEN_NAMES = dict(eos_token='<|im_end|>', pad_token='<|endoftext|>')
IDEFICS_CONFIG = dict(vision_config={**SIGLIP, 'image_size': 16}, text_config={'model_type': 'llama', **TEXT}, scale_factor=2)
IDEFICS_KIND = dict(
    marks=IDEFICS_MARKS,
    template=IDEFICS,
    image_processor=dict(size={'longest_edge': 32}, max_image_size={'longest_edge': 16}),
    processor=dict(image_seq_len=1),
    names=dict(eos_token='<end_of_utterance>', pad_token='<|endoftext|>', bos_token='<|im_start|>'),
)
KINDS = {
    'qwen2_5_vl': Kind(
        QWEN_MARKS, QWEN,
        dict(vision_config=dict(depth=2, hidden_size=32, intermediate_size=48, num_heads=2, patch_size=8, out_hidden_size=32, window_size=32, fullatt_block_indexes=[1]), text_config=QWEN_TEXT),
        QWEN_IMAGES, names=QWEN_NAMES,
    ),
    'qwen3_vl': Kind(
        QWEN_MARKS, QWEN,
        dict(vision_config=dict(depth=2, hidden_size=32, intermediate_size=48, num_heads=2, patch_size=8, out_hidden_size=32, num_position_embeddings=16, deepstack_visual_indexes=[0]), text_config={**QWEN_TEXT, 'head_dim': 16}),
        QWEN_IMAGES, names=QWEN_NAMES, plain=['<think>', '</think>'],
    ),
    'internvl': Kind(
        INTERN_MARKS, INTERN,
        dict(vision_config={**SIGLIP, 'image_size': [16, 16], 'patch_size': [8, 8]}, text_config={'model_type': 'qwen2', **TEXT}, downsample_ratio=0.5),
        dict(size={'height': 16, 'width': 16}, crop_to_patches=True, min_patches=1, max_patches=4),
        dict(image_seq_length=1),
        dict(eos_token='<|im_end|>', pad_token='<|endoftext|>', start_image_token='<img>', end_image_token='</img>', context_image_token='<IMG_CONTEXT>', video_token='<video>'),
    ),
    'idefics3': Kind(config=IDEFICS_CONFIG, **IDEFICS_KIND),
    'smolvlm': Kind(config=IDEFICS_CONFIG, **IDEFICS_KIND),
    'gemma3': Kind(
        GEMMA_MARKS, GEMMA,
        dict(vision_config={**SIGLIP, 'image_size': 32}, text_config={**TEXT, 'head_dim': 16, 'sliding_window': 512, 'query_pre_attn_scalar': 16}, mm_tokens_per_image=4),
        dict(size={'height': 32, 'width': 32}),
        dict(image_seq_length=4),
        dict(bos_token='<bos>', eos_token='<eos>', pad_token='<pad>', boi_token='<start_of_image>', eoi_token='<end_of_image>', image_token='<image_soft_token>'),
    ),
    'llava_onevision': Kind(
        [*CHATML, '<image>', '<video>'], ONEVISION,
        dict(vision_config={'model_type': 'siglip_vision_model', **SIGLIP, 'image_size': 16, 'vision_use_head': False}, text_config={'model_type': 'qwen2', **TEXT}, vision_feature_layer=-1, vision_feature_select_strategy='full', image_grid_pinpoints=[[16, 16], [16, 32], [32, 16], [32, 32]]),
        dict(size={'height': 16, 'width': 16}, image_grid_pinpoints=[[16, 16], [16, 32], [32, 16], [32, 32]]),
        dict(num_image_tokens=4, vision_feature_select_strategy='full'),
        dict(eos_token='<|im_end|>', pad_token='<|endoftext|>'),
    ),
}  # fmt: skip


def make_tokenizer(kind: Kind) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the kind's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in kind.plain])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in kind.marks])
    roles = {name: token for name, token in kind.names.items() if name in ('bos_token', 'eos_token', 'pad_token')}
    more = {name: token for name, token in kind.names.items() if name not in roles}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=more,
        model_input_names=['input_ids', 'attention_mask'],
        clean_up_tokenization_spaces=False,
        **roles,
    )


def make_folder(folder: Path, model_type: str, template: str | None = None) -> Path:
    """Tokenizer, image processor, processor and chat template as files, laid out as on the hub."""
    kind = KINDS[model_type]
    make_tokenizer(kind).save_pretrained(folder)
    import transformers
    name = IMAGE_PROCESSOR_MAPPING_NAMES[model_type]['pil']
    getattr(transformers, name)(**kind.image_processor).save_pretrained(folder)
    config_class = transformers.CONFIG_MAPPING[model_type]
    own = transformers.PROCESSOR_MAPPING[config_class].__name__
    (folder / 'processor_config.json').write_text(json.dumps({'processor_class': own, **kind.processor}))
    (folder / 'chat_template.jinja').write_text(template or kind.template)
    return folder


def picture(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
