"""Stage 9 of a sample's way, before training: published LLaVA, Shikra and LCL checkpoints, read.

    old layout                                          live names here
    lm_head.weight                                      lm_head.weight
    model.{embed_tokens, layers, norm}.*                model.language_model.*
    model.mm_projector.{weight, bias} or .{0, 2}.*      model.multi_modal_projector.*
    model.vision_tower.vision_tower.vision_model.*      model.vision_tower.*       only if it was trained or asked for

The old config.json is LLaMA's with `mm_` fields. Layouts: the code of LLaVA c121f04, Shikra ff79a4c, LCL 7a4c33b.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import LlamaConfig, LlavaConfig, PreTrainedConfig, PreTrainedTokenizerBase

from mllm.models.hub import loading
from mllm.models.llava.arguments import TOWER
from mllm.utils.log import get_logger
from mllm.utils.weight_files import read_any, read_folder
from mllm.utils.weights import listing, wrong_shapes

logger = get_logger(__name__)

LEGACY_FIELD = 'mllm_legacy'
"""Field of a saved config.json: the old config.json, of a model that came in the old layout."""
OLD_TYPES = ('llava', 'llava_llama', 'shikra')
OLD_TOWER = 'model.vision_tower.vision_tower.vision_model.'
PREFIXES = ((OLD_TOWER, f'{TOWER}.'), ('model.mm_projector.', 'model.multi_modal_projector.'))
TEXT = ('model.', 'model.language_model.')
"""What remains below `model.` is the language model's; `lm_head.weight` keeps its name."""
BUFFERS = ('rotary_emb.inv_freq', 'embeddings.position_ids')
"""Ends of names that newer versions compute; old files hold them."""
PROJECTORS = {'linear': 'linear', 'mlp2x_gelu': 'mlp2x_gelu'}
IDS = ('pad_token_id', 'bos_token_id', 'eos_token_id')


def old_config(path: str) -> dict[str, Any] | None:
    """The config.json of a folder or a hub name if it is of the old layout, else None."""
    with loading('model_name_or_path', path):
        fields, _ = PreTrainedConfig.get_config_dict(path)
    old = fields.get('model_type') in OLD_TYPES and 'text_config' not in fields and 'vision_config' not in fields
    return fields if old else None


def tower_path(fields: Mapping[str, Any]) -> str | None:
    """Where the checkpoint says its image encoder lies; on the machine it was trained on, so it may not be there."""
    return fields.get('mm_vision_tower') or fields.get('vision_tower')


def new_config(fields: Mapping[str, Any], vision: PreTrainedConfig, image_token_id: int) -> LlavaConfig:
    """What an old config.json says, as a `LlavaConfig`. ValueError that lists what cannot be represented."""
    faults = []
    if any('qformer' in str(key).lower() and value for key, value in fields.items()):
        faults.append(QFORMER)
    projector = fields.get('mm_projector_type') or 'linear'
    if projector not in PROJECTORS:
        faults.append(f'mm_projector_type={projector!r}; there are {", ".join(PROJECTORS)}')
    width = fields.get('mm_hidden_size')
    if width is not None and width != vision.hidden_size:
        faults.append(f'mm_hidden_size={width}, but the vision tower has {vision.hidden_size} channels')
    if faults:
        raise ValueError('the config.json of this checkpoint: ' + '; '.join(faults))
    known = {name: fields[name] for name in LlamaConfig.__dataclass_fields__ if name in fields}
    for name in ('model_type', 'architectures', 'transformers_version', 'dtype'):
        known.pop(name, None)
    if fields.get('rope_theta') is not None:
        known['rope_parameters'] = {'rope_type': 'default', 'rope_theta': fields['rope_theta']}
    text = LlamaConfig(**{**known, **dict.fromkeys(IDS)})
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        vision_feature_layer=fields.get('mm_vision_select_layer', -2),
        vision_feature_select_strategy='full' if fields.get('mm_vision_select_feature') == 'cls_patch' else 'default',
        image_token_index=image_token_id,
        tie_word_embeddings=bool(fields.get('tie_word_embeddings', False)),
    )
    setattr(config, LEGACY_FIELD, dict(fields))
    return config


def repair_ids(config: LlavaConfig, fields: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
    """Take the special ids from the tokenizer: Shikra's config.json says bos 0, eos 1, pad -1, all of them wrong."""
    right = {name: getattr(tokenizer, name) for name in IDS}
    wrong = [f'{name} {fields[name]}' for name in IDS if name in fields and fields[name] not in (None, right[name])]
    if wrong:
        given = ', '.join(f'{name} {value}' for name, value in right.items())
        logger.warning("config.json says %s; the tokenizer's ids are taken: %s", ', '.join(wrong), given)
    for name, value in right.items():
        setattr(config.text_config, name, value)


QFORMER = (
    'it has a Q-Former between tower and language model, which is not built here; use a checkpoint of the same authors '
    'with a linear projector'
)


def live_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the old layout under live names. ValueError for a Q-Former's."""
    if any('qformer' in name.lower() or 'query_tokens' in name for name in weights):
        raise ValueError(f'this checkpoint cannot be loaded: {QFORMER}')
    return {live_name(name): tensor for name, tensor in weights.items() if not name.endswith(BUFFERS)}


def live_name(name: str) -> str:
    for old, new in (*PREFIXES, TEXT):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def old_name(name: str) -> str:
    for old, new in (*PREFIXES, TEXT):
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def read_old(folder: str) -> dict[str, Tensor]:
    """The weights of a folder of the old layout, under live names."""
    return live_names(read_folder(folder))


def has_tower(weights: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(f'{TOWER}.') for name in weights)


def fill(model: Any, weights: Mapping[str, Tensor], folder: str) -> None:
    """Load weights under live names into a model of their shape, strictly; without a tower among them, all but it.

    ValueError that lists missing and unexpected names and wrong shapes; nothing is changed then.
    """
    own = model.state_dict()
    left = () if has_tower(weights) else (f'{TOWER}.',)
    left = (*left, 'lm_head.weight') if model.config.tie_word_embeddings else left
    faults = [
        *listing('missing', [name for name in own if name not in weights and not name.startswith(left)]),
        *listing('unexpected', sorted(weights.keys() - own.keys())),
        *listing('of another shape', wrong_shapes(own, weights)),
    ]
    if faults:
        raise ValueError(f'{folder} does not hold the weights that its config.json describes\n' + '\n'.join(faults))
    model.load_state_dict(weights, strict=False)


def read_adapter(path: str) -> dict[str, Tensor]:
    """A projector's file (`mm_projector.bin` and the like), without the names of modules in front of LLaVA's own."""
    return {
        name.removeprefix('base_model.').removeprefix('model.').removeprefix('mm_projector.'): tensor
        for name, tensor in read_any(path).items()
    }
