"""Stage 9 of a sample's way: MosaicGPT, the language model of OpenFlamingo-3B (MPT-1B), which transformers lacks.

Unlike MPT it norms queries and keys, and its parameters have other names. Positions are linear biases on attention
(ALiBi), or learned embeddings.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep

LOWEST = torch.finfo(torch.float16).min
"""Added to scores of what may not be looked at: in every precision a number, so rows of padding stay numbers."""


class MosaicGPTConfig(PreTrainedConfig):
    """Fields that change what is computed; published configs have more, for training from nothing."""

    model_type = 'mosaic_gpt'
    attribute_map = {
        'hidden_size': 'd_model',
        'num_attention_heads': 'n_heads',
        'num_hidden_layers': 'n_layers',
        'max_position_embeddings': 'max_seq_len',
    }

    d_model: int = 2048
    n_heads: int = 16
    n_layers: int = 24
    mlp_ratio: int = 4
    max_seq_len: int = 2048
    vocab_size: int = 50368
    attn_pdrop: float = 0.0
    resid_pdrop: float = 0.0
    emb_pdrop: float = 0.0
    attn_qk_ln: bool = True
    attn_clip_qkv: float | None = None
    softmax_scale: float | None = None
    alibi: bool = False
    alibi_bias_max: int = 8
    logit_scale: float | str | None = None
    no_bias: bool = False
    init_std: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None


class MosaicGPTAttention(nn.Module):
    def __init__(self, config: Any, number: int) -> None:
        super().__init__()
        width, bias = config.d_model, not config.no_bias
        self.config, self.number = config, number
        self.Wqkv = nn.Linear(width, 3 * width, bias=bias)
        self.out_proj = nn.Linear(width, width, bias=bias)
        if config.attn_qk_ln:
            self.q_ln = nn.LayerNorm(width, bias=bias)
            self.k_ln = nn.LayerNorm(width, bias=bias)

    def forward(self, hidden_states: Tensor, bias: Tensor, cache: Cache | None) -> Tensor:
        """[B, L, W] with what is added to the scores, [B, heads, L, S] -> [B, L, W]."""
        config = self.config
        mixed = self.Wqkv(hidden_states)
        if config.attn_clip_qkv:
            mixed = mixed.clamp(-config.attn_clip_qkv, config.attn_clip_qkv)
        q, k, v = mixed.chunk(3, dim=-1)
        if config.attn_qk_ln:
            q, k = self.q_ln(q).to(v.dtype), self.k_ln(k).to(v.dtype)
        q, k, v = (part.unflatten(-1, (config.n_heads, -1)).transpose(1, 2) for part in (q, k, v))
        if cache is not None:
            k, v = cache.update(k, v, self.number)
        dropout = config.attn_pdrop if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=bias.to(q.dtype), dropout_p=dropout, scale=config.softmax_scale
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class MosaicGPTMLP(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        width, bias = config.d_model, not config.no_bias
        self.mlp_up = nn.Linear(width, config.mlp_ratio * width, bias=bias)
        self.mlp_down = nn.Linear(config.mlp_ratio * width, width, bias=bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.mlp_down(functional.gelu(self.mlp_up(hidden_states)))


class MosaicGPTBlock(GradientCheckpointingLayer):
    def __init__(self, config: Any, number: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.d_model, bias=not config.no_bias)
        self.attn = MosaicGPTAttention(config, number)
        self.ln_2 = nn.LayerNorm(config.d_model, bias=not config.no_bias)
        self.mlp = MosaicGPTMLP(config)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden_states: Tensor, bias: Tensor, past_key_values: Cache | None = None) -> Tensor:
        hidden_states = hidden_states + self.dropout(self.attn(self.ln_1(hidden_states), bias, past_key_values))
        return hidden_states + self.dropout(self.mlp(self.ln_2(hidden_states)))


class MosaicGPTTransformer(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        if not config.alibi:
            self.wpe = nn.Embedding(config.max_seq_len, config.d_model)
        self.emb_drop = nn.Dropout(config.emb_pdrop)
        self.blocks = nn.ModuleList(MosaicGPTBlock(config, number) for number in range(config.n_layers))
        self.ln_f = nn.LayerNorm(config.d_model, bias=not config.no_bias)

    def forward(self, input_ids: Tensor, mask: Tensor, cache: Cache | None) -> Tensor:
        """[B, L] ids and the mask [B, S] of cache and ids -> [B, L, W]."""
        hidden_states = self.wte(input_ids)
        length, dtype = input_ids.shape[1], hidden_states.dtype
        if not self.config.alibi:
            hidden_states = hidden_states + self.wpe((mask.cumsum(1) - 1).clamp(min=0)[:, -length:])
        bias = attention_bias(mask, length, alibi_slopes(self.config).to(mask.device), dtype)
        hidden_states = self.emb_drop(hidden_states)
        for block in self.blocks:
            hidden_states = block(hidden_states, bias, past_key_values=cache)
        return self.ln_f(hidden_states)


class MosaicGPTForCausalLM(PreTrainedModel, GenerationMixin):
    """Under the parameter names of the original; the head is tied to the embeddings."""

    config_class = MosaicGPTConfig
    base_model_prefix = 'transformer'
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ['MosaicGPTBlock']
    _tied_weights_keys = {'lm_head.weight': 'transformer.wte.weight'}

    def __init__(self, config: MosaicGPTConfig) -> None:
        super().__init__(config)
        self.transformer = MosaicGPTTransformer(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        if getattr(module, 'bias', None) is not None:
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def get_input_embeddings(self) -> nn.Module:
        return self.transformer.wte

    def set_input_embeddings(self, value: Any) -> None:
        self.transformer.wte = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """[B, L] ids, a mask [B, L] that under a cache starts with its tokens -> logits [B, kept, V]."""
        config: Any = self.config
        if (config.use_cache if use_cache is None else use_cache) and past_key_values is None:
            past_key_values = DynamicCache()
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if attention_mask is None:
            attention_mask = input_ids.new_ones(len(input_ids), past + input_ids.shape[1])
        hidden_states = self.transformer(input_ids, attention_mask, past_key_values)
        logits = self.lm_head(slice_logits_to_keep(hidden_states, logits_to_keep)) * logit_scale(config)
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)  # type: ignore[arg-type]


def logit_scale(config: Any) -> float:
    return config.d_model**-0.5 if config.logit_scale == 'inv_sqrt_d_model' else float(config.logit_scale or 1)


def alibi_slopes(config: Any) -> Tensor:
    """How fast each head's attention falls with distance [heads]; 0 without ALiBi."""
    heads = config.n_heads
    if not config.alibi:
        return torch.zeros(heads)
    power = 2 ** math.ceil(math.log2(heads))
    slopes = 2.0 ** -(torch.arange(1, power + 1) * config.alibi_bias_max / power)
    return slopes if power == heads else torch.cat([slopes[1::2], slopes[::2]])[:heads]


def attention_bias(mask: Tensor, length: int, slopes: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of the last `length` tokens over all of `mask` [B, S]: [B, heads, length, S]."""
    total = mask.shape[1]
    distance = torch.arange(1 - total, 1, device=mask.device)
    causal = torch.ones(length, total, dtype=torch.bool, device=mask.device).tril(total - length)
    allowed = causal & mask.bool()[:, None, None]
    return torch.where(allowed, (slopes[:, None] * distance)[:, None].to(dtype), LOWEST)


AutoConfig.register(MosaicGPTConfig.model_type, MosaicGPTConfig, exist_ok=True)
AutoModelForCausalLM.register(MosaicGPTConfig, MosaicGPTForCausalLM, exist_ok=True)
