"""Stage 9 of a sample's way: LLaVA on `LlavaForConditionalGeneration`, with any tower, projector and language model.

Any number of images per sequence: each stands as a run of image tokens that its features replace.
"""

from __future__ import annotations

from transformers import AutoTokenizer, LlavaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from mllm.conversation.episode_template import build_episode_template
from mllm.models.family import Family
from mllm.models.freeze import apply_freeze
from mllm.models.llava.arguments import LlavaArguments
from mllm.models.llava.build import describe, from_folder, from_parts, tokens_per_image
from mllm.models.llava.feature_cache import cache_features, keep_in_evaluation
from mllm.models.llava.images import ImageEncoder, collate_images, load_image_processor
from mllm.models.tokens import add_tokens, fit_embeddings
from mllm.registry import FORMATTERS, MODELS, TRANSFORMS
from mllm.types import Preprocessor

IMAGE_TOKEN = '<image>'
PATCH_TOKEN = '<im_patch>'
START_TOKEN, END_TOKEN = '<im_start>', '<im_end>'


@MODELS.register_module('llava')
class LlavaFamily(Family[LlavaArguments]):
    """LLaVA-v1 and everything of its layout."""

    arguments = LlavaArguments

    def preprocessor(self, args: LlavaArguments) -> Preprocessor:
        tokenizer = AutoTokenizer.from_pretrained(args.tokenizer_path)
        formatter = FORMATTERS.build(args.target_processor['boxes'])
        marks = [START_TOKEN, END_TOKEN] if args.mm_use_im_start_end else []
        add_tokens(tokenizer, [IMAGE_TOKEN, PATCH_TOKEN, *marks, *formatter.special_tokens()])
        transform = args.conv_args.get('transforms')
        return Preprocessor(
            tokenizer=tokenizer,
            episode_template=build_episode_template(args.conv_args),
            formatter=formatter,
            transform=TRANSFORMS.build(transform) if transform else None,
            encode_images=image_encoder(args, tokenizer),
            collate_images=collate_images,
            image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
            max_length=args.model_max_length,
        )

    def model(self, args: LlavaArguments, preprocessor: Preprocessor) -> LlavaForConditionalGeneration:
        tokenizer = preprocessor.tokenizer
        config = describe(args, tokenizer)
        model = from_parts(args, config) if args.model_name_or_path is None else from_folder(args, config)
        fit_embeddings(model, len(tokenizer))
        config.image_token_id = preprocessor.image_token_id
        model.generation_config.update(
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        apply_freeze(model, args.freeze, args.tune)
        tower = model.model.vision_tower
        if not any(parameter.requires_grad for parameter in tower.parameters()):
            keep_in_evaluation(tower)
        if args.feature_cache is not None:
            cache_features(tower, config.vision_feature_layer, args.feature_cache)
        return model


def image_encoder(args: LlavaArguments, tokenizer: PreTrainedTokenizerBase) -> ImageEncoder:
    """What turns images into pixels and runs of ids; it needs the shapes of the model, not its weights."""
    processor = load_image_processor(args)
    config: LlavaConfig = describe(args, tokenizer)
    count = tokens_per_image(config, processor.crop_size['height'])

    def run(token: str) -> list[int]:
        tokens = [token] * count
        marked = [START_TOKEN, *tokens, END_TOKEN] if args.mm_use_im_start_end else tokens
        return tokenizer.convert_tokens_to_ids(marked)

    return ImageEncoder(processor, run(IMAGE_TOKEN), run(PATCH_TOKEN) if args.image_splice == 'last_only' else None)
