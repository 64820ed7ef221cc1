"""Stage 9 of a sample's way: OpenFlamingo on any causal language model, trained in its own format or in Otter's.

Any number of images per sequence, one token each; text sees the image before it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mllm.conversation.episode_template import EpisodeTemplate, Place, build_episode_template
from mllm.conversation.template import PromptTemplate
from mllm.models.family import Family
from mllm.models.flamingo.arguments import DECODER, TOWER, FlamingoArguments
from mllm.models.flamingo.build import CHECKPOINT, build, parts_by_path
from mllm.models.flamingo.images import MediaEncoder, collate_media
from mllm.models.flamingo.legacy import embeddings_name
from mllm.models.flamingo.modeling import FlamingoForConditionalGeneration, decoder_layers
from mllm.models.flamingo.published import save_openflamingo
from mllm.models.freeze import is_frozen, keep_in_evaluation
from mllm.models.hub import loading
from mllm.models.llava.images import load_image_processor
from mllm.models.prepare import prepare_model
from mllm.models.tokens import add_tokens, load_tokenizer
from mllm.registry import FORMATTERS, MODELS, TRANSFORMS
from mllm.types import IMAGE_PLACEHOLDER, Preprocessor

END_OF_CHUNK = '<|endofchunk|>'
PAD_TOKEN = '<PAD>'


@MODELS.register_module('openflamingo')
class FlamingoFamily(Family[FlamingoArguments]):
    """OpenFlamingo and everything of its layout."""

    arguments = FlamingoArguments
    layouts = ('mllm', 'original')
    template: ClassVar[str] = 'openflamingo_vqa'
    """Prompts where `conv_args` names none."""

    def preprocessor(self, args: FlamingoArguments) -> Preprocessor:
        with loading('tokenizer', args.tokenizer_path):
            tokenizer = load_tokenizer(args.tokenizer_path, args.model_max_length)
        formatter = FORMATTERS.build(args.target_processor['boxes'])
        template = build_episode_template(self.templates(args))
        add_special_tokens(tokenizer, template)
        written = formatter.special_tokens()
        add_tokens(tokenizer, written, written)
        token_id = cast(int, tokenizer.convert_tokens_to_ids(IMAGE_PLACEHOLDER))
        transform = args.conv_args.get('transforms')
        return Preprocessor(
            tokenizer=tokenizer,
            episode_template=self.fit_template(template, tokenizer),
            formatter=formatter,
            transform=TRANSFORMS.build(transform) if transform else None,
            encode_images=MediaEncoder(load_image_processor(cast(Any, args)), token_id, args.video_frames),
            collate_images=collate_media,
            image_token_id=token_id,
            max_length=args.model_max_length,
            end_token_ids=(cast(int, tokenizer.convert_tokens_to_ids(END_OF_CHUNK)), cast(int, tokenizer.eos_token_id)),
        )

    def templates(self, args: FlamingoArguments) -> dict[str, Any]:
        """`conv_args` with the templates it leaves out."""
        name = args.conv_args.get('conv_template', self.template)
        return {'conv_template': name, 'episode_template': name, **args.conv_args}

    def fit_template(self, template: EpisodeTemplate, tokenizer: PreTrainedTokenizerBase) -> EpisodeTemplate:
        """OpenFlamingo's sequences begin as its tokenizer lets them: with BOS for LLaMA and OPT, without for NeoX."""
        begins = tokenizer('a').input_ids[:1] == [tokenizer.bos_token_id]
        return template if begins else without_bos(template)

    def model(self, args: FlamingoArguments, preprocessor: Preprocessor) -> FlamingoForConditionalGeneration:
        tokenizer = preprocessor.tokenizer
        model = build(args, tokenizer, preprocessor.image_token_id)
        embeddings = [embeddings_name(model)] if args.freeze_llm and args.tune_embeddings != 'none' else []
        layers, _ = decoder_layers(model.language_model)
        tuned = replace(args, tune=[*args.tune, *embeddings])
        prepare_model(model, tuned, preprocessor, lora_target=[f'{DECODER}.{layers}'])
        if embeddings and args.tune_embeddings == 'added':
            template, formatter = preprocessor.episode_template, preprocessor.formatter
            added = [*special_tokens(template), *formatter.special_tokens()]
            learn_rows(model, cast(list[int], tokenizer.convert_tokens_to_ids(added)))
        if is_frozen(model.vision_tower):
            keep_in_evaluation(model.vision_tower)
        return model

    def export(
        self, model: PreTrainedModel, args: FlamingoArguments, preprocessor: Preprocessor, layout: str, folder: str
    ) -> None:
        if layout == 'original':
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.write_original(model, args, folder)
            preprocessor.tokenizer.save_pretrained(folder)
        else:
            super().export(model, args, preprocessor, layout, folder)
        cast(MediaEncoder, preprocessor.encode_images).encoder.processor.save_pretrained(folder)

    def write_original(self, model: Any, args: FlamingoArguments, folder: str) -> None:
        """OpenFlamingo publishes neither the tower nor a language model that others have published."""
        frozen = {TOWER: args.freeze_vision_tower, DECODER: args.freeze_llm and not args.tune_lm_head}
        elsewhere = [name for name in parts_by_path(args) if frozen[name] and args.lora is None]
        save_openflamingo(model, Path(folder, CHECKPOINT), elsewhere)


def special_tokens(template: EpisodeTemplate) -> list[str]:
    """In the original's order, whose embeddings have their rows so."""
    places = [getattr(template, field.name) for field in fields(template)]
    templates = [place.template for place in places if isinstance(place, Place)]
    tokens = [token for one in templates if isinstance(one, PromptTemplate) for token in one.tokens]
    return list(dict.fromkeys([END_OF_CHUNK, IMAGE_PLACEHOLDER, *tokens]))


def add_special_tokens(tokenizer: PreTrainedTokenizerBase, template: EpisodeTemplate) -> None:
    """Those of the template; then, as in the original, <PAD> for a tokenizer without a pad token."""
    pads = tokenizer.pad_token is not None
    add_tokens(tokenizer, special_tokens(template), swallow=False)
    if not pads:
        tokenizer.add_special_tokens({'pad_token': PAD_TOKEN})


def without_bos(template: EpisodeTemplate) -> EpisodeTemplate:
    places = {field.name: getattr(template, field.name) for field in fields(template)}
    changed = {name: replace(place, bos=False) for name, place in places.items() if isinstance(place, Place)}
    return replace(template, **changed)


def learn_rows(model: Any, rows: list[int]) -> None:
    """Let only these rows of the word embeddings learn. Sharded by FSDP, all rows do."""
    weight = model.get_input_embeddings().weight
    mask = torch.zeros(len(weight), 1)
    mask[torch.tensor(rows)] = 1
    weight.register_hook(partial(keep_rows, mask=mask))


def keep_rows(gradient: Tensor, mask: Tensor) -> Tensor:
    return gradient * mask.to(gradient)
