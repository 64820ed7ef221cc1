"""Stage 9 of a sample's way: the shape of a Flamingo, as it is saved in its config.json."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, CLIPVisionConfig, PreTrainedConfig


class FlamingoConfig(PreTrainedConfig):
    """Two parts with configs of their own, and what lies between them.

    vision_config                 CLIP's image encoder
    text_config                   any causal language model of transformers, or `mosaic_gpt`
    cross_attn_every_n_layers     decoder layer i is conditioned where (i + 1) is a multiple of it
    media_token_id                the token that stands for one image (or video) in the text
    only_attend_immediate_media   a token sees the last image before it, not all of them
    vision_post_layernorm         image tokens are normed by the tower's last norm: some versions of open_clip did that
    legacy_cache                  tokens after the first pass see no image, as in the original Otter
    max_num_frames                most frames of a video, for which there are embeddings; None: images only
    perceiver_depth, num_latents  layers of the resampler, and how many tokens it makes of an image
    num_heads, head_dim, ff_mult  of the resampler and of the gated cross-attention
    """

    model_type = 'mllm_flamingo'
    sub_configs = {'vision_config': CLIPVisionConfig, 'text_config': AutoConfig}  # type: ignore[assignment]
    attribute_map = {'image_token_id': 'media_token_id'}

    vision_config: Any = None
    text_config: Any = None
    cross_attn_every_n_layers: int = 1
    media_token_id: int = 0
    only_attend_immediate_media: bool = True
    vision_post_layernorm: bool = False
    legacy_cache: bool = False
    max_num_frames: int | None = None
    perceiver_depth: int = 6
    num_latents: int = 64
    num_heads: int = 8
    head_dim: int = 64
    ff_mult: int = 4
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = made(self.vision_config, 'clip_vision_model')
        self.text_config = made(self.text_config, 'llama')
        self.tie_word_embeddings = self.text_config.tie_word_embeddings
        super().__post_init__(**kwargs)


def made(part: Any, model_type: str) -> PreTrainedConfig:
    """A part's config from what config.json has of it."""
    if isinstance(part, PreTrainedConfig):
        return part
    return AutoConfig.for_model(**{'model_type': model_type, **(part or {})})
