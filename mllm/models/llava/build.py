"""Stage 9 of a sample's way: a LLaVA's shape from `model_args`, and its weights from parts or from a folder."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights

from mllm.models.arguments import ModelArguments
from mllm.models.hub import check_complete, loading, local_folder, part_config
from mllm.models.llava.arguments import LlavaArguments
from mllm.models.llava.decoder_init import open_gates_
from mllm.models.llava.images import token_of_image
from mllm.models.llava.legacy import (
    LEGACY_FIELD,
    fill,
    has_tower,
    new_config,
    old_config,
    read_adapter,
    read_old,
    repair_ids,
    tower_path,
)
from mllm.models.llava.projector import PROJECTOR_FIELD, build_projector
from mllm.utils.weights import load_weights, wrong_shapes

EMBEDDINGS = 'embed_tokens.weight'
"""Name of the word embeddings in a projector's file."""


def describe(args: LlavaArguments, tokenizer: PreTrainedTokenizerBase) -> LlavaConfig:
    """The whole model's config: that of the folder, or one made of the parts'."""
    if args.model_name_or_path is not None:
        fields = old_config(args.model_name_or_path)
        if fields is not None:
            return describe_old(args, fields, tokenizer)
        with loading('model_name_or_path', args.model_name_or_path):
            return LlavaConfig.from_pretrained(args.model_name_or_path)
    text = text_config(args.llm, tokenizer)
    config = LlavaConfig(
        vision_config=vision_config(args.vision_tower),
        text_config=text,
        vision_feature_layer=args.mm_vision_select_layer,
        vision_feature_select_strategy='default' if args.mm_vision_select_feature == 'patch' else 'full',
        image_token_index=cast(int, tokenizer.convert_tokens_to_ids(token_of_image(args, tokenizer))),
        tie_word_embeddings=text.tie_word_embeddings,
    )
    setattr(config, PROJECTOR_FIELD, {'name': args.projector, **args.projector_args})
    return config


def describe_old(args: LlavaArguments, fields: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> LlavaConfig:
    """The config of a published checkpoint in the old layout, `fields` its config.json."""
    tower = args.vision_tower or tower_path(fields)
    if tower is None:
        raise ValueError('model_args.vision_tower is needed: the config.json of this checkpoint names no image encoder')
    marks = fields.get('mm_use_im_start_end')
    if marks is not None and bool(marks) != args.mm_use_im_start_end:
        raise ValueError(f'model_args.mm_use_im_start_end: this checkpoint was trained with {bool(marks)}; write that')
    image_token_id = cast(int, tokenizer.convert_tokens_to_ids(token_of_image(args, tokenizer)))
    config = new_config(fields, vision_config(tower), image_token_id)
    setattr(config, PROJECTOR_FIELD, {'name': fields.get('mm_projector_type') or 'linear'})
    return config


def text_config(llm: Any, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The language model's config from a path, or from a dict; then its special ids and size are the tokenizer's."""
    if isinstance(llm, str):
        return part_config('llm', llm)
    ids = {name: getattr(tokenizer, name) for name in ('pad_token_id', 'bos_token_id', 'eos_token_id')}
    return part_config('llm', {'vocab_size': len(tokenizer), **ids, **llm})


def vision_config(vision_tower: Any) -> PreTrainedConfig:
    """The image encoder's config from a path or a dict; a CLIP-like checkpoint holds a text encoder's too."""
    config = part_config('vision_tower', vision_tower)
    config = getattr(config, 'vision_config', config)
    if getattr(config, 'hidden_size', None) is None:
        raise ValueError(
            f'model_args.vision_tower: the config of this {config.model_type} has no hidden_size; add the number of '
            'channels of its last layer under that name'
        )
    return config


def tokens_per_image(config: LlavaConfig, side: int) -> int:
    """How many embeddings an image of `side` x `side` pixels gives: found by a pass over shapes, without weights."""
    projector = getattr(config, PROJECTOR_FIELD, {})
    if projector.get('name') == 'pool':
        return projector.get('num_tokens', 1)
    layers = config.vision_feature_layer
    with torch.device('meta'), torch.no_grad():
        tower = AutoModel.from_config(config.vision_config).eval()
        outputs = tower(torch.zeros(1, 3, side, side), output_hidden_states=True, return_dict=True)
    features = outputs.hidden_states[layers if isinstance(layers, int) else layers[0]]
    if features.ndim == 4:
        return features.shape[2] * features.shape[3]
    return features.shape[1] - int(config.vision_feature_select_strategy == 'default')


def from_parts(args: LlavaArguments, config: LlavaConfig) -> LlavaForConditionalGeneration:
    """A new model: tower and language model with their own weights if they are paths, the rest drawn."""
    dtype = getattr(torch, args.dtype)
    # Only the frame: every part that holds weights is put in below, so nothing is drawn or held twice.
    with torch.device('meta'):
        model: Any = LlavaForConditionalGeneration._from_config(config, dtype=dtype)
    decoder = make_part('llm', args.llm, config.text_config, AutoModelForCausalLM, AutoModelForCausalLM, args)
    tower_class = type(model.model.vision_tower)
    tower = make_part('vision_tower', args.vision_tower, config.vision_config, AutoModel, tower_class, args)
    if args.decoder_init == 'open_gates':
        open_gates_(decoder)
    model.config.text_config = decoder.config
    model.model.vision_tower = tower
    model.model.language_model = decoder.get_decoder()
    model.lm_head = decoder.get_output_embeddings()
    model.model.multi_modal_projector = make_projector(config).to(dtype)
    if args.pretrain_mm_mlp_adapter is not None:
        load_adapter(model, args.pretrain_mm_mlp_adapter)
    return model.eval()


def make_part(key: str, part: Any, config: Any, drawn: Any, loaded: Any, args: ModelArguments) -> Any:
    """Language model or tower, `model_args[key]`: with the weights of a path, or drawn if `part` is a dict."""
    options = {'dtype': getattr(torch, args.dtype)}
    if key == 'llm':
        options['attn_implementation'] = args.attn_implementation
    if not isinstance(part, str):
        return drawn.from_config(config, **options)
    return load_part(loaded, key, part, {**options, 'config': config})


def load_part(loaded: Any, key: str, path: str, options: dict[str, Any]) -> Any:
    """A model of class `loaded` with all its weights from `path`; what else lies there is left."""
    with loading(key, path):
        model, info = loaded.from_pretrained(path, output_loading_info=True, **options)
    check_complete(info, path)
    return model


def build_model(args: LlavaArguments, tokenizer: PreTrainedTokenizerBase) -> LlavaForConditionalGeneration:
    """The model that the arguments name, as it lies there or drawn."""
    config = describe(args, tokenizer)
    if args.model_name_or_path is None:
        return from_parts(args, config)
    if old_config(args.model_name_or_path) is not None:
        return from_old(args, config, tokenizer)
    return from_folder(args, config)


def from_folder(args: LlavaArguments, config: LlavaConfig) -> LlavaForConditionalGeneration:
    """A saved model: ours strictly, under live names; a plain Hugging Face one as that library reads it."""
    folder, dtype = str(args.model_name_or_path), getattr(torch, args.dtype)
    options = {'dtype': dtype, 'attn_implementation': {'text_config': args.attn_implementation}}
    if getattr(config, PROJECTOR_FIELD, None) is None:
        return load_part(LlavaForConditionalGeneration, 'model_name_or_path', folder, options)
    with no_init_weights():
        model: Any = LlavaForConditionalGeneration._from_config(config, **options)
    model.tie_weights()  # no_init_weights leaves that out too
    model.model.multi_modal_projector = make_projector(config).to(dtype)
    load_weights(model, folder)
    return model.eval()


def from_old(args: LlavaArguments, config: LlavaConfig, tokenizer: PreTrainedTokenizerBase) -> Any:
    """A published checkpoint in the old layout; its tower from its own place where the checkpoint holds none."""
    folder, dtype = local_folder('model_name_or_path', str(args.model_name_or_path)), getattr(torch, args.dtype)
    fields = getattr(config, LEGACY_FIELD)
    repair_ids(config, fields, tokenizer)
    weights = read_old(folder)
    with no_init_weights():
        model: Any = LlavaForConditionalGeneration._from_config(
            config, dtype=dtype, attn_implementation={'text_config': args.attn_implementation}
        )
    model.tie_weights()
    model.model.multi_modal_projector = make_projector(config).to(dtype)
    if not has_tower(weights):
        tower = args.vision_tower or tower_path(fields)
        if not isinstance(tower, str):
            raise ValueError(
                f'model_args.vision_tower: {folder} holds no vision tower, and a dict has no weights; name a folder'
            )
        tower_class = type(model.model.vision_tower)
        model.model.vision_tower = load_part(
            tower_class, 'vision_tower', tower, {'dtype': dtype, 'config': config.vision_config}
        )
    fill(model, weights, folder)
    return model.eval()


def make_projector(config: Any) -> nn.Module:
    """The projector that a config of ours names, with drawn weights."""
    projector = dict(getattr(config, PROJECTOR_FIELD))
    widths = config.vision_config.hidden_size, config.text_config.hidden_size
    return build_projector(projector.pop('name'), *widths, **projector)


def load_adapter(model: LlavaForConditionalGeneration, path: str) -> None:
    """Load all or some of a projector's weights, and word embeddings, which LLaVA keeps in one file with them.

    Names may leave out the parts of the module's name in front. ValueError that names tensors the projector does not
    have, and both shapes where they differ.
    """
    projector, embeddings = model.model.multi_modal_projector, model.get_input_embeddings()
    own = projector.state_dict()
    weights, words = {}, {}
    unknown = []
    for name, tensor in read_adapter(path).items():
        matching = [key for key in own if key == name or key.endswith(f'.{name}')]
        if f'.{name}'.endswith(f'.{EMBEDDINGS}'):
            words['weight'] = tensor
        elif len(matching) != 1:
            unknown.append(name)
        else:
            weights[matching[0]] = tensor
    faults = [f'the projector has no {", ".join(unknown)}; it has {", ".join(own)}'] if unknown else []
    faults += wrong_shapes(own, weights)
    faults += [f'word embeddings: {fault}' for fault in wrong_shapes(embeddings.state_dict(), words)]
    if faults:
        raise ValueError(f'model_args.pretrain_mm_mlp_adapter={path!r}: ' + '; '.join(faults))
    embeddings.load_state_dict({**embeddings.state_dict(), **words})
    projector.load_state_dict({**own, **weights})
