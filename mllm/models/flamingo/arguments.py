"""Stage 9 of a sample's way, the keys of `model_args` for type='openflamingo' and, with other defaults, 'otter'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from mllm.models.arguments import ConvArgs, ModelArguments

TOWER, DECODER = 'vision_tower', 'language_model'
RESAMPLER, CROSS_ATTENTION = 'perceiver', 'cross_attention'


class FlamingoSizes(TypedDict, total=False):
    """Of what lies between tower and language model; published models have none of these."""

    perceiver_depth: int
    num_latents: int
    num_heads: int
    head_dim: int
    ff_mult: int


@dataclass(frozen=True)
class FlamingoArguments(ModelArguments):
    """A whole model by path, or the parts of a new one; and what `ModelArguments` has.

    model_name_or_path           a model saved by a run of ours, or a folder of a published Otter; None: from parts.
                                 Its config.json decides about the parts and what lies between them
    checkpoint                   a published OpenFlamingo: a checkpoint.pt, or a folder or hub name that has one. It
                                 holds what was trained; the rest comes from the parts. Not read where
                                 model_name_or_path names a whole model
    llm                          language model: a path, or a config dict with `model_type` for random weights
    vision_tower                 CLIP image encoder: a path, or a config dict for random weights; beside
                                 model_name_or_path, a path is where the image processor lies
    image_size                   square the image processor makes, in pixels, where no path has an image processor
    cross_attn_every_n_layers    decoder layer i is conditioned where (i + 1) is a multiple of it
    only_attend_immediate_media  text sees the last image before it, not all of them
    vision_post_layernorm        image tokens are normed by the tower's last norm, as some versions of open_clip did
    max_num_frames               of a new model: most frames of a video; None: images only
    video_frames                 so many images in a row are the frames of one video; 1: every image is an image
    legacy_cache                 generate as the original Otter does, which loses the images after the first token
    sizes                        of a new or published model that differs from all that were published so far:
                                 dict(perceiver_depth=, num_latents=, num_heads=, head_dim=, ff_mult=)
    freeze_vision_tower, freeze_llm
    tune_embeddings              of a frozen language model: its rows of the tokens added here learn ('added'), 'all',
                                 or 'none'
    tune_lm_head                 the frozen language model's head learns
    conv_args                    conv_template alone is enough: there is an episode_template of the same name
    """

    checkpoint: str | None = None
    llm: str | Mapping[str, Any] | None = None
    vision_tower: str | Mapping[str, Any] | None = None
    image_size: int = 224
    cross_attn_every_n_layers: int = 1
    only_attend_immediate_media: bool = True
    vision_post_layernorm: bool = False
    max_num_frames: int | None = None
    video_frames: int = 1
    legacy_cache: bool = False
    sizes: FlamingoSizes = field(default_factory=lambda: FlamingoSizes())
    freeze_vision_tower: bool = True
    freeze_llm: bool = True
    tune_embeddings: Literal['added', 'all', 'none'] = 'added'
    tune_lm_head: bool = False
    conv_args: ConvArgs = field(default_factory=lambda: ConvArgs())

    def faults(self) -> Iterator[str]:
        for name in ('tokenizer', 'llm', 'vision_tower'):
            comes_with_llm = name == 'tokenizer' and isinstance(self.llm, str)
            if self.model_name_or_path is None and getattr(self, name) is None and not comes_with_llm:
                yield f'model_args.{name} is needed where model_name_or_path is None'
        for name in ('cross_attn_every_n_layers', 'video_frames', 'image_size'):
            if getattr(self, name) < 1:
                yield f'model_args.{name}={getattr(self, name)!r}: expected a whole number from 1'
        if self.max_num_frames is not None and self.video_frames > self.max_num_frames:
            yield f'model_args.video_frames={self.video_frames} is more than max_num_frames={self.max_num_frames}'
        yield from self.part_faults('llm', 'vision_tower')
        yield from super().faults()

    @property
    def tokenizer_path(self) -> str:
        return str(self.tokenizer or self.model_name_or_path or self.llm)

    def patterns(self) -> tuple[list[str], list[str]]:
        """What `apply_freeze` takes; the embeddings, whose name depends on the language model, are not in it."""
        switches = {TOWER: self.freeze_vision_tower, DECODER: self.freeze_llm}
        freeze = [*self.freeze, *(name for name, on in switches.items() if on)]
        tune = [*self.tune, *([f'{DECODER}.lm_head'] if self.freeze_llm and self.tune_lm_head else [])]
        # Adapters of the language model learn beside what is there to learn; others would be in their place.
        beside = self.lora is not None and not self.lora.get('target')
        return freeze, [*tune, *([RESAMPLER, CROSS_ATTENTION] if beside else [])]
