"""Stage 9 of a sample's way: a LLaVA's shape from `model_args`, and its weights from parts or from a folder."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from mllm.models.llava.arguments import LlavaArguments
from mllm.models.llava.decoder_init import open_gates_
from mllm.models.llava.projector import build_projector
from mllm.utils.weights import load_weights, wrong_shapes

PROJECTOR_FIELD = 'mllm_projector'
"""Field of a saved config.json: which projector to rebuild. Plain Hugging Face models do not have it."""


def describe(args: LlavaArguments, tokenizer: PreTrainedTokenizerBase) -> LlavaConfig:
    """The whole model's config: that of the folder, or one made of the parts'."""
    if args.model_name_or_path is not None:
        return LlavaConfig.from_pretrained(args.model_name_or_path)
    text = text_config(args.llm, tokenizer)
    config = LlavaConfig(
        vision_config=vision_config(args.vision_tower),
        text_config=text,
        vision_feature_layer=args.mm_vision_select_layer,
        vision_feature_select_strategy='default' if args.mm_vision_select_feature == 'patch' else 'full',
        image_token_index=tokenizer.convert_tokens_to_ids('<image>'),
        tie_word_embeddings=text.tie_word_embeddings,
    )
    setattr(config, PROJECTOR_FIELD, {'name': args.projector, **args.projector_args})
    return config


def text_config(llm: Any, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The language model's config from a path, or from a dict; then its special ids and size are the tokenizer's."""
    if isinstance(llm, str):
        return AutoConfig.from_pretrained(llm)
    ids = {name: getattr(tokenizer, name) for name in ('pad_token_id', 'bos_token_id', 'eos_token_id')}
    return AutoConfig.for_model(**{'vocab_size': len(tokenizer), **ids, **llm})


def vision_config(vision_tower: Any) -> PreTrainedConfig:
    """The image encoder's config from a path or a dict; a CLIP-like checkpoint holds a text encoder's too."""
    if isinstance(vision_tower, str):
        config = AutoConfig.from_pretrained(vision_tower)
        config = getattr(config, 'vision_config', config)
    else:
        config = AutoConfig.for_model(**vision_tower)
    if getattr(config, 'hidden_size', None) is None:
        raise ValueError(
            f"the vision tower's config ({config.model_type}) has no hidden_size; add the number of channels of its "
            'last layer under that name'
        )
    return config


def tokens_per_image(config: LlavaConfig, side: int) -> int:
    """How many embeddings an image of `side` x `side` pixels gives: found by a pass over shapes, without weights."""
    projector = getattr(config, PROJECTOR_FIELD, {})
    if projector.get('name') == 'pool':
        return projector.get('num_tokens', 1)
    layer = config.vision_feature_layer
    with torch.device('meta'), torch.no_grad():
        tower = AutoModel.from_config(config.vision_config).eval()
        outputs = tower(torch.zeros(1, 3, side, side), output_hidden_states=True, return_dict=True)
    features = outputs.hidden_states[layer]
    if features.ndim == 4:
        return features.shape[2] * features.shape[3]
    return features.shape[1] - int(config.vision_feature_select_strategy == 'default')


def from_parts(args: LlavaArguments, config: LlavaConfig) -> LlavaForConditionalGeneration:
    """A new model: tower and language model with their own weights if they are paths, the rest drawn."""
    model = empty_model(args, config)
    if isinstance(args.vision_tower, str):
        tower, info = type(model.model.vision_tower).from_pretrained(
            args.vision_tower, dtype=model.dtype, output_loading_info=True
        )
        check_complete(info, args.vision_tower)
        model.model.vision_tower = tower
    if isinstance(args.llm, str):
        decoder, info = AutoModelForCausalLM.from_pretrained(
            args.llm, dtype=model.dtype, attn_implementation=args.attn_implementation, output_loading_info=True
        )
        check_complete(info, args.llm)
        model.model.language_model = decoder.get_decoder()
        model.lm_head = decoder.lm_head
    if args.decoder_init == 'open_gates':
        open_gates_(model.model.language_model)
    if args.pretrain_mm_mlp_adapter is not None:
        load_projector(model.model.multi_modal_projector, args.pretrain_mm_mlp_adapter)
    return model


def from_folder(args: LlavaArguments, config: LlavaConfig) -> LlavaForConditionalGeneration:
    """A saved model: ours strictly, under live names; a plain Hugging Face one as that library reads it."""
    folder = str(args.model_name_or_path)
    if getattr(config, PROJECTOR_FIELD, None) is not None:
        model = empty_model(args, config)
        load_weights(model, folder)
        return model
    model, info = LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=args.dtype, attn_implementation=args.attn_implementation, output_loading_info=True
    )
    check_complete(info, folder)
    return model


def empty_model(args: LlavaArguments, config: LlavaConfig) -> LlavaForConditionalGeneration:
    """The model with drawn weights and the projector its config names."""
    dtype = getattr(torch, args.dtype)
    model = LlavaForConditionalGeneration._from_config(
        config, dtype=dtype, attn_implementation=args.attn_implementation
    )
    projector = dict(getattr(config, PROJECTOR_FIELD))
    widths = config.vision_config.hidden_size, config.text_config.hidden_size
    model.model.multi_modal_projector = build_projector(projector.pop('name'), *widths, **projector).to(dtype)
    return model


def load_projector(projector: nn.Module, path: str) -> None:
    """Load all or some of a projector's weights. Names may leave out the parts of the module's name in front.

    ValueError that names tensors the projector does not have, and both shapes where they differ.
    """
    own = projector.state_dict()
    weights = {}
    unknown = []
    for name, tensor in load_file(path).items():
        matching = [key for key in own if key == name or key.endswith(f'.{name}')]
        if len(matching) != 1:
            unknown.append(name)
        else:
            weights[matching[0]] = tensor
    faults = [f'the projector has no {", ".join(unknown)}'] if unknown else []
    faults += wrong_shapes(own, weights)
    if faults:
        raise ValueError(f'pretrain_mm_mlp_adapter {path}: ' + '; '.join(faults))
    projector.load_state_dict({**own, **weights})


def check_complete(info: dict[str, Any], folder: str) -> None:
    """ValueError if weights of a part are missing in its folder."""
    faults = [*info.get('missing_keys', []), *info.get('mismatched_keys', [])]
    if faults:
        raise ValueError(f'{folder} lacks weights: {", ".join(map(str, sorted(faults)[:20]))}')
