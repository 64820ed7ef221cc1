"""Stage 9 of a sample's way: LLaVA on `LlavaForConditionalGeneration`, with any tower, projector and language model.

Any number of images per sequence: each stands as a run of image tokens that its features replace.
"""

from __future__ import annotations

from typing import cast

from PIL import Image
from transformers import LlavaForConditionalGeneration, PreTrainedModel, PreTrainedTokenizerBase

from mllm.conversation.episode_template import build_episode_template
from mllm.models.family import Family
from mllm.models.freeze import is_frozen, keep_in_evaluation
from mllm.models.hub import loading
from mllm.models.llava.arguments import DECODER, LlavaArguments
from mllm.models.llava.build import build_model, describe, tokens_per_image
from mllm.models.llava.export import write_hf, write_old
from mllm.models.llava.feature_cache import cache_features
from mllm.models.llava.images import (
    END_TOKEN,
    PATCH_TOKEN,
    START_TOKEN,
    ImageEncoder,
    collate_images,
    load_image_processor,
    token_of_image,
)
from mllm.models.llava.text_only import take_part_without_images
from mllm.models.prepare import prepare_model
from mllm.models.tokens import add_tokens, load_tokenizer
from mllm.registry import FORMATTERS, MODELS, TRANSFORMS
from mllm.types import Preprocessor


@MODELS.register_module('llava')
class LlavaFamily(Family[LlavaArguments]):
    """LLaVA-v1 and everything of its layout."""

    arguments = LlavaArguments
    layouts = ('mllm', 'hf', 'original')

    def preprocessor(self, args: LlavaArguments) -> Preprocessor:
        with loading('tokenizer', args.tokenizer_path):
            tokenizer = load_tokenizer(args.tokenizer_path, args.model_max_length)
        formatter = FORMATTERS.build(args.target_processor['boxes'])
        image_token = token_of_image(args, tokenizer)
        first = PATCH_TOKEN if args.image_splice == 'last_only' else image_token
        marks = [START_TOKEN, END_TOKEN] if args.mm_use_im_start_end else []
        # In the order of published checkpoints, whose embeddings have their rows so.
        written = formatter.special_tokens()
        add_tokens(tokenizer, [first, *marks, *written, image_token], written)
        transform = args.conv_args.get('transforms')
        return Preprocessor(
            tokenizer=tokenizer,
            episode_template=build_episode_template(args.conv_args),
            formatter=formatter,
            transform=TRANSFORMS.build(transform) if transform else None,
            encode_images=image_encoder(args, tokenizer),
            collate_images=collate_images,
            image_token_id=cast(int, tokenizer.convert_tokens_to_ids(image_token)),
            max_length=args.model_max_length,
        )

    def model(self, args: LlavaArguments, preprocessor: Preprocessor) -> LlavaForConditionalGeneration:
        model = build_model(args, preprocessor.tokenizer)
        model.config.image_token_id = preprocessor.image_token_id
        prepare_model(model, args, preprocessor, lora_target=[DECODER])
        tower = model.model.vision_tower
        if is_frozen(tower):
            keep_in_evaluation(tower)
        if args.feature_cache is not None:
            cache_features(tower, model.config.vision_feature_layer, args.feature_cache)
        blank, _ = preprocessor.encode_images([Image.new('RGB', (8, 8))])
        take_part_without_images(model.model, blank.shape[-1])
        return model

    def export(
        self, model: PreTrainedModel, args: LlavaArguments, preprocessor: Preprocessor, layout: str, folder: str
    ) -> None:
        processor = cast(ImageEncoder, preprocessor.encode_images).processor
        if layout == 'hf':
            write_hf(model, preprocessor, folder)
        elif layout == 'original':
            tower = args.vision_tower if isinstance(args.vision_tower, str) else None
            write_old(model, preprocessor.tokenizer, folder, tower, args.mm_use_im_start_end, with_tower=tower is None)
        else:
            super().export(model, args, preprocessor, layout, folder)
        processor.save_pretrained(folder)


def image_encoder(args: LlavaArguments, tokenizer: PreTrainedTokenizerBase) -> ImageEncoder:
    """What turns images into pixels and runs of ids; it needs the shapes of the model, not its weights."""
    encoder = ImageEncoder(load_image_processor(args))
    count = tokens_per_image(describe(args, tokenizer), encoder.side)

    def run(token: str) -> list[int]:
        tokens = [token] * count
        marked = [START_TOKEN, *tokens, END_TOKEN] if args.mm_use_im_start_end else tokens
        return cast(list[int], tokenizer.convert_tokens_to_ids(marked))

    encoder.run = run(token_of_image(args, tokenizer))
    encoder.plain_run = run(PATCH_TOKEN) if args.image_splice == 'last_only' else None
    return encoder
