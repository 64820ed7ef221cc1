"""Stage 9 of a sample's way, the keys of `model_args` for type='llava'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from mllm.models.hub import part_faults
from mllm.registry import nearest

TOWER, PROJECTOR, DECODER = 'model.vision_tower', 'model.multi_modal_projector', 'model.language_model'
PROJECTOR_ARGS = {'linear': (), 'mlp2x_gelu': (), 'pool': ('num_tokens', 'dim'), 'grid': ('num_tokens',)}


class ConvArgs(TypedDict, total=False):
    conv_template: str
    episode_template: str
    transforms: dict[str, Any] | None


class TargetProcessor(TypedDict):
    boxes: dict[str, Any]


@dataclass(frozen=True)
class LlavaArguments:
    """A whole model by path, or the parts of a new one. Paths are folders or names on the Hugging Face hub.

    model_name_or_path        a model saved by a run of ours, or a plain Hugging Face LLaVA; None: built from parts.
                              Its config.json decides about tower, language model, projector and selected features
    tokenizer                 where the tokenizer lies if not with the model
    llm                       language model: a path, or a config dict with `model_type` for random weights
    vision_tower              image encoder: a path, or a config dict with `model_type` for random weights; beside
                              model_name_or_path, a path is where the image processor lies
    image_size                square the image processor makes, in pixels, where no path has an image processor
    projector                 'linear', 'mlp2x_gelu', 'pool' or 'grid'; for 'pool', projector_args has num_tokens and
                              dim, for 'grid' num_tokens, the number of the tower's features
    pretrain_mm_mlp_adapter   safetensors file with all or some of a new model's projector weights, and, as
                              embed_tokens.weight, the word embeddings that they were trained with, if they were
    mm_vision_select_layer    hidden state of the tower that is projected
    mm_vision_select_feature  'patch' drops the first feature (CLS), 'full' keeps all
    mm_use_im_start_end       put <im_start> and <im_end> around every image
    image_splice              'all' images reach the language model, or 'last_only', as the released LCL code computes
    decoder_init              'open_gates' for a new LFM2 decoder, see `decoder_init.open_gates_`
    freeze_vision_tower, freeze_backbone (the language model without its head), freeze_mm_mlp_adapter (the projector),
    tune_mm_mlp_adapter (nothing but the projector learns, and the embeddings if they have <im_start> and <im_end>)
    freeze, tune              further name patterns of parameters that do not learn, and of exceptions from all
    feature_cache             of a frozen tower: None, 'memory', or a folder that lasts across runs
    attn_implementation       of the language model, as transformers names them
    target_processor          dict(boxes=dict(type=...)): how boxes and points are written
    conv_args                 dict(conv_template=, episode_template=, transforms=dict(type=...))
    """

    version: Literal['v1'] = 'v1'
    model_name_or_path: str | None = None
    tokenizer: str | None = None
    llm: str | Mapping[str, Any] | None = None
    vision_tower: str | Mapping[str, Any] | None = None
    image_size: int = 224
    projector: Literal['linear', 'mlp2x_gelu', 'pool', 'grid'] = 'linear'
    projector_args: Mapping[str, Any] = field(default_factory=dict)
    pretrain_mm_mlp_adapter: str | None = None
    mm_vision_select_layer: int = -2
    mm_vision_select_feature: Literal['patch', 'full'] = 'patch'
    mm_use_im_start_end: bool = False
    model_max_length: int = 2048
    image_splice: Literal['all', 'last_only'] = 'all'
    decoder_init: Literal['default', 'open_gates'] = 'default'
    freeze_vision_tower: bool = True
    freeze_backbone: bool = False
    freeze_mm_mlp_adapter: bool = False
    tune_mm_mlp_adapter: bool = False
    freeze: Sequence[str] = ()
    tune: Sequence[str] = ()
    feature_cache: str | None = None
    attn_implementation: str | None = None
    dtype: Literal['float32', 'bfloat16', 'float16'] = 'float32'
    target_processor: TargetProcessor = field(default_factory=lambda: {'boxes': {'type': 'PlainBoxFormatter'}})
    conv_args: ConvArgs = field(default_factory=lambda: {'transforms': {'type': 'Expand2square'}})

    def __post_init__(self) -> None:
        faults = [
            f'model_args.{name} is needed where model_name_or_path is None'
            for name in ('tokenizer', 'llm', 'vision_tower')
            if self.model_name_or_path is None and getattr(self, name) is None and not self.comes_with_llm(name)
        ]
        if self.projector not in PROJECTOR_ARGS:
            faults.append(
                f'model_args.projector: there is no {self.projector!r}{nearest(self.projector, PROJECTOR_ARGS)}'
            )
        else:
            known = PROJECTOR_ARGS[self.projector]
            faults += [
                f'model_args.projector_args.{name}: {self.projector!r} has no such argument{nearest(name, known)}'
                for name in self.projector_args
                if name not in known
            ]
        faults += [
            fault
            for name in ('llm', 'vision_tower')
            if isinstance(part := getattr(self, name), Mapping)
            for fault in part_faults(name, part)
        ]
        if self.tune_mm_mlp_adapter and self.freeze_mm_mlp_adapter:
            faults.append('model_args: tune_mm_mlp_adapter and freeze_mm_mlp_adapter exclude each other')
        if faults:
            raise ValueError('\n'.join(faults))

    def comes_with_llm(self, name: str) -> bool:
        """A language model given by path brings its tokenizer."""
        return name == 'tokenizer' and isinstance(self.llm, str)

    @property
    def tokenizer_path(self) -> str:
        return str(self.tokenizer or self.model_name_or_path or self.llm)

    def patterns(self) -> tuple[list[str], list[str]]:
        """What `apply_freeze` takes: `freeze` and `tune` with the names that the switches stand for."""
        only_projector = self.tune_mm_mlp_adapter
        switches = {
            TOWER: self.freeze_vision_tower or only_projector,
            DECODER: self.freeze_backbone or only_projector,
            'lm_head': only_projector,
            PROJECTOR: self.freeze_mm_mlp_adapter,
        }
        freeze = [*self.freeze, *(name for name, on in switches.items() if on)]
        embeddings = [f'{DECODER}.embed_tokens'] if only_projector and self.mm_use_im_start_end else []
        return freeze, [*self.tune, *embeddings]
