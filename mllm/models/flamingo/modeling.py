"""Stage 9 of a sample's way: Flamingo - images condition a language model from between its layers.

pixel_values [B, T, F, 3, H, W] -> tower -> [B, T, F, V, D] -> resampler -> media [B, T, N, D]
                                                                              |
input_ids [B, L] -> embeddings -> decoder layers, every n-th with a gated cross-attention before it -> logits

Text is conditioned on the image whose <image> token is the last one before it. Rows with fewer images are filled up
with zeros at their end.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.cache_utils import Cache

from mllm.models.flamingo import mosaic_gpt  # noqa: F401  (its model type is known from here on)
from mllm.models.flamingo.config import FlamingoConfig
from mllm.models.flamingo.cross_attention import (
    Conditioning,
    GatedCrossAttentionBlock,
    MediaLayer,
    conditioning,
    join_media,
)
from mllm.models.flamingo.resampler import PerceiverResampler
from mllm.models.freeze import is_frozen


class FlamingoForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Any causal language model of transformers, conditioned on images.

    The cross-attention runs in hooks before the decoder layers, so those keep their own names and arguments.
    """

    config_class = FlamingoConfig
    main_input_name = 'input_ids'
    input_modalities = ('image', 'text')  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _no_split_modules = ['GatedCrossAttentionBlock', 'PerceiverLayer']
    _skip_keys_device_placement = ['past_key_values']

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.perceiver = make_perceiver(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.cross_attention = make_cross_attention(config)
        self.given: Conditioning | None = None
        self.connect()
        self.post_init()

    def connect(self) -> None:
        """Put the cross-attention before the layers of `language_model`; again after another one was put there."""
        config: Any = self.config
        config.text_config = self.language_model.config
        step = config.cross_attn_every_n_layers
        layers = decoder_layers(self.language_model)[1][step - 1 :: step]
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(look_at_images, self, number), with_kwargs=True)

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        """As the original draws them: PyTorch's defaults, latents from a normal distribution, gates shut."""
        if isinstance(module, PerceiverResampler):
            for drawn in (module.latents, module.frame_embs):
                if drawn is not None:
                    nn.init.normal_(drawn)
        elif isinstance(module, GatedCrossAttentionBlock):
            nn.init.zeros_(module.attn_gate)
            nn.init.zeros_(module.ff_gate)
        elif isinstance(module, nn.Linear | nn.LayerNorm):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    def vision_features(self, pixel_values: Tensor) -> Tensor:
        """Frames [n, 3, H, W] -> tokens [n, V, D]: the tower's last layer without its class token."""
        tower: Any = self.vision_tower
        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_frozen(tower)):
            tokens = tower(pixel_values.to(tower.dtype)).last_hidden_state
            if self.config.vision_post_layernorm:
                tokens = tower.post_layernorm(tokens)
        return tokens[:, 1:]

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """[B, T, F, 3, H, W] -> media [B, T, N, D]."""
        tokens = self.vision_features(pixel_values.flatten(0, 2))
        return self.perceiver(tokens.unflatten(0, pixel_values.shape[:3]))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        media: Tensor | None = None,
        media_counts: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """Logits and cache, in the language model's own kind of output.

        input_ids        [B, L]; under a cache the tokens after it
        attention_mask   [B, L], or of cache and tokens together
        pixel_values     [B, T, F, 3, H, W], the images of the <image> tokens of `input_ids`, zeros after a row's last
        media_counts     [B], images of each row; without it, those up to the last that is not all zeros
        media            instead of pixel_values what `encode_images` made of them, with `media_counts`; not checked:
                         tokens beyond a row's last image, which a model may have written, see all of its images
        past_key_values  remembers the images before `input_ids`
        ValueError if <image> tokens and images of a row differ in number.
        """
        token, length = self.config.media_token_id, input_ids.shape[1]
        if pixel_values is not None:
            media_counts = count_images(input_ids, pixel_values, media_counts, token)
            media = self.encode_images(pixel_values)
        elif media is None:
            if is_empty(past_key_values) or length > 1:
                refuse_images(input_ids, token)
            if self.training:
                media, media_counts = self.blank_images(len(input_ids))
        seen = self.look_back(input_ids, media, media_counts, past_key_values)
        self.given = Conditioning()
        if seen is not None:
            times, immediate = seen.times[:, -length:], self.config.only_attend_immediate_media
            self.given = conditioning(seen.media, times, seen.counts, immediate)
        options = {'past_key_values': past_key_values, 'use_cache': use_cache, 'logits_to_keep': logits_to_keep}
        if 'position_ids' in inspect.signature(self.language_model.forward).parameters:
            options['position_ids'] = positions(attention_mask, input_ids) if position_ids is None else position_ids
        try:
            outputs = self.language_model(input_ids, attention_mask=attention_mask, **options, **kwargs)
        finally:
            self.given = None
        remember(outputs.past_key_values, seen)
        return outputs

    def blank_images(self, rows: int) -> tuple[Tensor, Tensor]:
        """A blank image that nothing looks at: a rank that skips parts which others train would make them wait."""
        side = self.config.vision_config.image_size
        media = self.encode_images(torch.zeros(1, 1, 1, 3, side, side, device=self.device))
        return media.expand(rows, -1, -1, -1), torch.zeros(rows, dtype=torch.int64, device=self.device)

    def look_back(
        self, input_ids: Tensor, media: Tensor | None, counts: Tensor | None, cache: Cache | None
    ) -> MediaLayer | None:
        """All images and the text_time of all tokens up to the end of `input_ids`; None if there never was one."""
        times = (input_ids == self.config.media_token_id).long().cumsum(1)
        past = MediaLayer.of(cache)
        if past is None:
            return None if media is None or counts is None else MediaLayer(media, counts, times)
        before, kept = past.last, past.left
        if self.config.legacy_cache:
            before, kept = torch.zeros_like(before), torch.zeros_like(kept)
        joined = past.media
        if media is None or counts is None:
            counts = past.counts
        else:
            joined, counts = join_media(past.media, kept, media), kept + counts
        return MediaLayer(joined, counts, torch.cat([past.times, before[:, None] + times], dim=1))

    def prepare_inputs_for_generation(self, *args: Any, is_first_iteration: bool = False, **kwargs: Any) -> Any:
        parent: Any = super()
        inputs = parent.prepare_inputs_for_generation(*args, is_first_iteration=is_first_iteration, **kwargs)
        if not is_first_iteration and kwargs.get('use_cache', True):
            for name in ('media', 'media_counts'):
                inputs.pop(name, None)
        return inputs

    @torch.no_grad()
    def generate(
        self, *args: Any, pixel_values: Tensor | None = None, media_counts: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """`GenerationMixin.generate`; images are encoded once, for all steps and beams. Arguments as for `forward`."""
        parent: Any = super()
        ids: Any = args[0] if args else kwargs.get('input_ids', kwargs.get('inputs'))
        cache: Any = kwargs.get('past_key_values')
        new = ids if is_empty(cache) else ids[:, cache.get_seq_length() :]
        if pixel_values is not None:
            media_counts = count_images(new, pixel_values, media_counts, self.config.media_token_id)
            kwargs['media'] = self.encode_images(pixel_values)
        elif 'media' not in kwargs:
            refuse_images(new, self.config.media_token_id)
        if media_counts is not None:
            kwargs['media_counts'] = media_counts
        return parent.generate(*args, **kwargs)


def make_perceiver(config: Any) -> PerceiverResampler:
    """The resampler of a config, with drawn weights."""
    return PerceiverResampler(
        config.vision_config.hidden_size,
        config.perceiver_depth,
        config.num_latents,
        config.num_heads,
        config.head_dim,
        config.ff_mult,
        config.max_num_frames,
    )


def make_cross_attention(config: Any) -> nn.ModuleList:
    """The blocks before a config's decoder layers, with drawn weights and shut gates."""
    widths = config.text_config.hidden_size, config.vision_config.hidden_size
    sizes = config.num_heads, config.head_dim, config.ff_mult
    number = config.text_config.num_hidden_layers // config.cross_attn_every_n_layers
    return nn.ModuleList(GatedCrossAttentionBlock(*widths, *sizes) for _ in range(number))


def look_at_images(model: Any, number: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Hook before a decoder layer: its hidden states go through cross-attention `number` first."""
    if args:
        args = (model.cross_attention[number](args[0], model.given), *args[1:])
    else:
        kwargs = {**kwargs, 'hidden_states': model.cross_attention[number](kwargs['hidden_states'], model.given)}
    return args, kwargs


def decoder_layers(language_model: Any) -> tuple[str, nn.ModuleList]:
    """The decoder layers of a causal language model and the module's name; ValueError if there is no such list."""
    depth = language_model.config.num_hidden_layers
    for name, module in language_model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return name, module
    raise ValueError(f'{type(language_model).__name__} has no list of its {depth} decoder layers to condition')


def count_images(input_ids: Tensor, pixel_values: Tensor, counts: Tensor | None, token: int) -> Tensor:
    """Images of each row [B]; ValueError if there are not as many as `token` stands in the row."""
    if pixel_values.ndim != 6 or len(pixel_values) != len(input_ids):
        raise ValueError(
            f'pixel_values is {list(pixel_values.shape)}; expected [{len(input_ids)}, images, frames, 3, height, width]'
        )
    if counts is None:
        used = pixel_values.flatten(2).any(-1)
        counts = (used * torch.arange(1, used.shape[1] + 1, device=used.device)).amax(1)
    tokens = (input_ids == token).sum(1)
    faults = [
        f'row {row} of the batch has {found} <image> tokens for {given} images'
        for row, (found, given) in enumerate(zip(tokens.tolist(), counts.tolist(), strict=True))
        if found != given
    ]
    if faults:
        raise ValueError('\n'.join(faults))
    return tokens


def refuse_images(input_ids: Tensor, token: int) -> None:
    tokens = (input_ids == token).sum(1)
    if tokens.any():
        raise ValueError(f'{tokens.tolist()} <image> tokens in the rows of a batch without images (pixel_values)')


def is_empty(cache: Cache | None) -> bool:
    return cache is None or cache.get_seq_length() == 0


def positions(attention_mask: Tensor | None, input_ids: Tensor) -> Tensor | None:
    """Position of each token of `input_ids` [B, L] in its row, not counting padding."""
    if attention_mask is None or attention_mask.ndim != 2:
        return None
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]


def remember(cache: Any, seen: MediaLayer | None) -> None:
    """Keep in a cache what the next tokens have to know of the images before them."""
    if cache is None or seen is None:
        return
    layer = MediaLayer.of(cache)
    if layer is None:
        cache.layers.append(seen)
    else:
        layer.media, layer.counts, layer.times = seen.media, seen.counts, seen.times


AutoConfig.register(FlamingoConfig.model_type, FlamingoConfig, exist_ok=True)
AutoModelForImageTextToText.register(FlamingoConfig, FlamingoForConditionalGeneration, exist_ok=True)
