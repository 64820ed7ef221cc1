"""Stage 9 of a sample's way, the keys of `model_args` for type='llava'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mllm.models.arguments import ModelArguments
from mllm.registry import nearest

TOWER, PROJECTOR, DECODER = 'model.vision_tower', 'model.multi_modal_projector', 'model.language_model'
PROJECTOR_ARGS = {'linear': (), 'mlp2x_gelu': (), 'pool': ('num_tokens', 'dim'), 'grid': ('num_tokens',)}


@dataclass(frozen=True)
class LlavaArguments(ModelArguments):
    """A whole model by path, or the parts of a new one; and what `ModelArguments` has.

    model_name_or_path        a model saved by a run of ours, or a plain Hugging Face LLaVA; None: built from parts.
                              Its config.json decides about tower, language model, projector and selected features
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
    feature_cache             of a frozen tower: None, 'memory', or a folder that lasts across runs
    """

    version: Literal['v1'] = 'v1'
    llm: str | Mapping[str, Any] | None = None
    vision_tower: str | Mapping[str, Any] | None = None
    image_size: int = 224
    projector: Literal['linear', 'mlp2x_gelu', 'pool', 'grid'] = 'linear'
    projector_args: Mapping[str, Any] = field(default_factory=dict)
    pretrain_mm_mlp_adapter: str | None = None
    mm_vision_select_layer: int = -2
    mm_vision_select_feature: Literal['patch', 'full'] = 'patch'
    mm_use_im_start_end: bool = False
    image_splice: Literal['all', 'last_only'] = 'all'
    decoder_init: Literal['default', 'open_gates'] = 'default'
    freeze_vision_tower: bool = True
    freeze_backbone: bool = False
    freeze_mm_mlp_adapter: bool = False
    tune_mm_mlp_adapter: bool = False
    feature_cache: str | None = None

    def faults(self) -> Iterator[str]:
        for name in ('tokenizer', 'llm', 'vision_tower'):
            if self.model_name_or_path is None and getattr(self, name) is None and not self.comes_with_llm(name):
                yield f'model_args.{name} is needed where model_name_or_path is None'
        if self.projector not in PROJECTOR_ARGS:
            yield f'model_args.projector: there is no {self.projector!r}{nearest(self.projector, PROJECTOR_ARGS)}'
        else:
            known = PROJECTOR_ARGS[self.projector]
            for name in self.projector_args:
                if name not in known:
                    near = nearest(name, known)
                    yield f'model_args.projector_args.{name}: {self.projector!r} has no such argument{near}'
        yield from self.part_faults('llm', 'vision_tower')
        if self.tune_mm_mlp_adapter and self.freeze_mm_mlp_adapter:
            yield 'model_args: tune_mm_mlp_adapter and freeze_mm_mlp_adapter exclude each other'
        yield from super().faults()

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
