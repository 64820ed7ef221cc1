"""Stage 9 of a sample's way: any model of `AutoModelForImageTextToText`, with its own processor and chat template.

A new model of this kind needs a config only. Ids, masks and pixels are those that its processor and its chat template
make of the same conversation; `template.py` says what is done about the last answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from mllm.models.family import Family
from mllm.models.hf_vlm.arguments import HfVlmArguments
from mllm.models.hf_vlm.config import describe
from mllm.models.hf_vlm.images import ImageEncoder, image_token_id
from mllm.models.hf_vlm.limits import limits
from mllm.models.hf_vlm.processor import copy_files, load_processor
from mllm.models.hf_vlm.template import ChatEpisodeTemplate, Message
from mllm.models.hf_vlm.text_only import take_part_without_images
from mllm.models.hf_vlm.vocabulary import own_bos, special_tokens
from mllm.models.hub import check_complete, loading, part_config
from mllm.models.prepare import prepare_model
from mllm.models.tokens import add_tokens, load_tokenizer
from mllm.registry import FORMATTERS, MODELS, TRANSFORMS
from mllm.types import Preprocessor


@MODELS.register_module('hf_vlm')
class HfVlmFamily(Family[HfVlmArguments]):
    """Models that transformers knows for images and text."""

    arguments = HfVlmArguments
    layouts = ('mllm', 'hf')

    def preprocessor(self, args: HfVlmArguments) -> Preprocessor:
        with loading('tokenizer', args.tokenizer_path):
            tokenizer = load_tokenizer(args.tokenizer_path, args.model_max_length)
        formatter = FORMATTERS.build(args.target_processor['boxes'])
        written = formatter.special_tokens()
        add_tokens(tokenizer, written, written)
        encoder = image_encoder(args, tokenizer)
        template = chat_template(args, encoder.processor)
        ends = [tokenizer.convert_tokens_to_ids(template.end_mark()), tokenizer.eos_token_id]
        transform = args.conv_args.get('transforms')
        return Preprocessor(
            tokenizer=tokenizer,
            episode_template=template,
            formatter=formatter,
            transform=TRANSFORMS.build(transform) if transform else None,
            encode_images=encoder,
            collate_images=encoder.collate,
            image_token_id=image_token_id(encoder.processor),
            max_length=args.model_max_length,
            end_token_ids=tuple(dict.fromkeys(token for token in ends if isinstance(token, int))),
            token_inputs=encoder.token_inputs,
            save=partial(copy_files, args.processor_path),
        )

    def model(self, args: HfVlmArguments, preprocessor: Preprocessor) -> PreTrainedModel:
        encoder = cast(ImageEncoder, preprocessor.encode_images)
        model = load(args, encoder.processor, preprocessor.tokenizer)
        prepare_model(model, args, preprocessor, lora_target=[decoder_name(model)])
        blank, _ = encoder([encoder.blank()])
        take_part_without_images(model, blank.tensors)
        return model

    def export(
        self, model: PreTrainedModel, args: HfVlmArguments, preprocessor: Preprocessor, layout: str, folder: str
    ) -> None:
        super().export(model, args, preprocessor, layout, folder)
        if layout == 'hf':
            # The names that published weights have.
            model.save_pretrained(folder)


def decoder_name(model: PreTrainedModel) -> str:
    """The name of the language model, which is not the same in all."""
    decoder = model.get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder)


def load(args: HfVlmArguments, processor: Any, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model with the weights of its folder, all of them, or with drawn ones."""
    config = describe(cast(Any, args.model_name_or_path or args.config), processor, tokenizer)
    options = {'dtype': getattr(torch, args.dtype), 'attn_implementation': {'text_config': args.attn_implementation}}
    if args.model_name_or_path is None:
        return AutoModelForImageTextToText.from_config(config, **options).eval()
    path, loaded = args.model_name_or_path, cast(Any, AutoModelForImageTextToText)
    with loading('model_name_or_path', path):
        model, info = loaded.from_pretrained(path, config=config, output_loading_info=True, **options)
    check_complete(info, path)
    return model


def image_encoder(args: HfVlmArguments, tokenizer: PreTrainedTokenizerBase) -> ImageEncoder:
    """The model's processor, within the limits of `args`."""
    path = args.model_name_or_path
    config = part_config('config', cast(Any, args.config)) if path is None else part_config('model_name_or_path', path)
    processor = load_processor(args.processor_path, tokenizer, config, args.image_processor)
    values = {**limits(processor.image_processor, args.max_tiles, args.max_pixels), **args.image_processor}
    for name, value in values.items():
        # Some processors read it there too, to tell how much text an image is.
        setattr(processor.image_processor, name, value)
    return ImageEncoder(processor, values)


def chat_template(args: HfVlmArguments, processor: Any) -> ChatEpisodeTemplate:
    """The protocol of the model's own chat template, or of `conv_args.chat_template`."""
    tokenizer, options = processor.tokenizer, args.conv_args
    return ChatEpisodeTemplate(
        render=partial(render, processor, template_text(args, processor), options.get('template_args') or {}),
        image_token=processor.image_token,
        special=special_tokens(tokenizer, processor.image_token),
        end=tokenizer.eos_token or '',
        bos=own_bos(tokenizer),
        few_shot=options.get('few_shot', 'turns'),
        system=options.get('system'),
    )


def template_text(args: HfVlmArguments, processor: Any) -> str:
    """The chat template: that of `conv_args`, of the processor, or of its tokenizer."""
    given = args.conv_args.get('chat_template')
    if given is not None:
        # A template is longer than a file's name can be, or at least has a brace.
        return given if '{' in given else Path(given).read_text(encoding='utf-8')
    found = processor.chat_template or processor.tokenizer.chat_template
    if isinstance(found, dict):
        found = found.get('default')
    if not found:
        raise ValueError(
            f'{args.processor_path} has no chat template; give model_args.conv_args.chat_template, a file or a text'
        )
    return found


def render(
    processor: Any, template: str, template_args: Mapping[str, Any], messages: list[Message], generate: bool
) -> str:
    # Some classes override it, to read videos.
    return ProcessorMixin.apply_chat_template(
        processor, messages, template, tokenize=False, add_generation_prompt=generate, **template_args
    )
