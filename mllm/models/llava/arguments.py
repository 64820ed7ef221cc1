"""The keys of `model_args` for type='llava'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class LlavaArguments:
    """A folder of a whole model, or the parts of a new one. Paths are folders or names on the Hugging Face hub.

    model_name_or_path        a model saved by a run of ours, or a plain Hugging Face LLaVA; None: built from parts
    tokenizer                 where the tokenizer lies if not with the model
    llm                       language model: a path, or a config dict with `model_type` for random weights
    vision_tower              image encoder: a path, or a config dict with `model_type` for random weights
    image_size                square the image processor makes, in pixels, where `vision_tower` is a dict
    projector                 'linear', 'mlp2x_gelu' or 'pool'; for 'pool', projector_args has num_tokens and dim
    pretrain_mm_mlp_adapter   safetensors file with all or some of the projector's weights
    mm_vision_select_layer    hidden state of the tower that is projected
    mm_vision_select_feature  'patch' drops the first feature (CLS), 'full' keeps all
    mm_use_im_start_end       put <im_start> and <im_end> around every image
    image_splice              'all' images reach the language model, or 'last_only', as the released LCL code computes
    decoder_init              'open_gates' for a new LFM2 decoder, see `decoder_init.open_gates_`
    freeze, tune              name patterns of parameters that do not learn, and of exceptions from them
    feature_cache             of a frozen tower: None, 'memory', or a folder that lasts across runs
    target_processor          dict(boxes=dict(type=...)): how boxes and points are written
    conv_args                 dict(conv_template=, episode_template=, transforms=dict(type=...))
    """

    version: Literal['v1'] = 'v1'
    model_name_or_path: str | None = None
    tokenizer: str | None = None
    llm: str | Mapping[str, Any] | None = None
    vision_tower: str | Mapping[str, Any] | None = None
    image_size: int = 224
    projector: Literal['linear', 'mlp2x_gelu', 'pool'] = 'linear'
    projector_args: Mapping[str, Any] = field(default_factory=dict)
    pretrain_mm_mlp_adapter: str | None = None
    mm_vision_select_layer: int = -2
    mm_vision_select_feature: Literal['patch', 'full'] = 'patch'
    mm_use_im_start_end: bool = False
    model_max_length: int = 2048
    image_splice: Literal['all', 'last_only'] = 'all'
    decoder_init: Literal['default', 'open_gates'] = 'default'
    freeze: Sequence[str] = ('model.vision_tower',)
    tune: Sequence[str] = ()
    feature_cache: str | None = None
    attn_implementation: str | None = None
    dtype: str = 'float32'
    target_processor: Mapping[str, Any] = field(
        default_factory=lambda: {'boxes': {'type': 'PlainBoxFormatter'}},
    )
    conv_args: Mapping[str, Any] = field(default_factory=lambda: {'transforms': {'type': 'Expand2square'}})

    def __post_init__(self) -> None:
        faults = [
            f'model_args.{name} is needed where model_name_or_path is None'
            for name in ('tokenizer', 'llm', 'vision_tower')
            if self.model_name_or_path is None and getattr(self, name) is None and not self.comes_with_llm(name)
        ]
        if faults:
            raise ValueError('\n'.join(faults))

    def comes_with_llm(self, name: str) -> bool:
        """A language model given by path brings its tokenizer."""
        return name == 'tokenizer' and isinstance(self.llm, str)

    @property
    def tokenizer_path(self) -> str:
        return str(self.tokenizer or self.model_name_or_path or self.llm)
