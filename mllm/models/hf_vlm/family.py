"""Stage 9 of a sample's way: any model of `AutoModelForImageTextToText`, with its own processor and chat template.

A new model of this kind needs a config only. Ids, masks and pixels are those that its processor and its chat template
make of the same conversation; `template.py` says what is done about the last answer.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mllm.models.family import Family
from mllm.models.hf_vlm.arguments import HfVlmArguments
from mllm.models.hf_vlm.chat import chat_template
from mllm.models.hf_vlm.config import describe
from mllm.models.hf_vlm.images import ImageEncoder, image_token_id
from mllm.models.hf_vlm.limits import limits
from mllm.models.hf_vlm.processor import copy_files, load_image_processor, load_processor
from mllm.models.hf_vlm.text_only import take_part_without_images
from mllm.models.hub import check_complete, loading, part_config
from mllm.models.prepare import prepare_model
from mllm.models.tokens import add_tokens
from mllm.registry import FORMATTERS, MODELS, TRANSFORMS
from mllm.types import Preprocessor


@MODELS.register_module('hf_vlm')
class HfVlmFamily(Family[HfVlmArguments]):
    """Models that transformers knows for images and text."""

    arguments = HfVlmArguments
    layouts = ('mllm', 'hf')

    def preprocessor(self, args: HfVlmArguments) -> Preprocessor:
        with loading('tokenizer', args.tokenizer_path):
            # Never LLaMA-1's, which is what a sentencepiece file means to other families.
            tokenizer = AutoTokenizer.from_pretrained(args.tokenizer_path, model_max_length=args.model_max_length)
        formatter = FORMATTERS.build(args.target_processor['boxes'])
        written = formatter.special_tokens()
        add_tokens(tokenizer, written, written)
        encoder = image_encoder(args, tokenizer)
        template = chat_template(encoder.processor, args.conv_args, args.processor_path)
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
    own = load_image_processor(args.processor_path, args.image_processor)
    values = {**limits(own, args.max_tiles, args.max_pixels), **args.image_processor}
    limited = load_image_processor(args.processor_path, values)
    return ImageEncoder(load_processor(args.processor_path, tokenizer, config, limited), values)
