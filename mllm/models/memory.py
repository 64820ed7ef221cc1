"""Stage 9 of a sample's way, before training: how much memory a model will need, from its shapes alone.

Weights, gradients and AdamW's state are counted exactly, per value in bytes:

    weights      float32 4, bfloat16 2; 8 bits: 1, and a float32 scale per row (LLM.int8, Dettmers et al. 2022);
                 4 bits: 1/2, and a scale per 64 values, itself in 8 bits with a float32 one per 256: 0.127 bits a value
                 (QLoRA, Dettmers et al. 2023, "double quantization")
    copies       float32 weights that compute in bfloat16 are held in both during a step (PyTorch's autocast cache): 2
    gradients    as the weight, of what learns
    AdamW        two moments as the weight, of what learns (Kingma & Ba 2015; torch.optim.AdamW)

Activations are estimates, in the way of Korthikanti et al. 2022, "Reducing Activation Recomputation in Large
Transformer Models", counted for a LLaMA layer (RMSNorm, SwiGLU, grouped queries, no dropout, attention without a stored
score matrix). What backward needs of one layer for one token, in values, h = hidden size, k = width of the keys,
f = width of the feed-forward:

    2h  inputs of both norms     h  of q, k, v     h + 2k  q, k, v     h + k  rotated q, k     h  attention's output
    h   of the feed-forward     4f  gate, up, activated gate, their product                   = 7h + 3k + 4f

With activation checkpointing only each layer's input is kept, h, and one layer at a time in full. Eager attention adds
its scores, twice in the type and once in float32. Logits at the supervised positions: three float32 a value (logits,
their softmax, their gradient).

The KV cache: 2 k a token for each layer with attention, at most a sliding window's tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from mllm.models.arguments import LoraArgs

FLOAT32, BFLOAT16 = 4.0, 2.0
BLOCK, SCALES_BLOCK = 64, 256
"""Values that share a scale in 4 bits, and scales that share one of theirs."""
DEFAULT_RANK = 16
"""Of LoRA, where the config has none."""


@dataclass(frozen=True)
class Text:
    """The language model's shape. `layers` and `windows` are of those with attention; a window of 0 is none."""

    hidden: int
    keys: int
    feed_forward: int
    heads: int
    vocabulary: int
    layers: int
    windows: tuple[int, ...]
    eager: bool


@dataclass(frozen=True)
class Sizes:
    """Numbers of values.

    base        all weights without adapters         learning    of them and of adapters, what the config lets learn
    coded       of the language model's linear layers, which 4 and 8 bits are for; `rows` is their outputs
    outside     what learns outside of the language model, its embeddings and its head
    adapters    LoRA's, of the config or of rank 16 on every linear layer of the language model
    """

    base: int
    learning: int
    coded: int
    rows: int
    outside: int
    adapters: int
    has_adapters: bool
    weight_bytes: int
    learning_bytes: int


@dataclass(frozen=True)
class Load:
    """What a step works on: sequences, their length in tokens, and how many of these are supervised in a sequence."""

    batch: int
    length: int
    answer: int = 64


@dataclass(frozen=True)
class Training:
    """Bytes that a way to train needs, on one device that holds all of it."""

    name: str
    weights: float
    gradients: float
    optimizer: float
    activations: float
    checkpointed: float

    @property
    def fixed(self) -> float:
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class Inference:
    """Bytes that a way to generate needs."""

    name: str
    weights: float
    cache: float


def text_of(model: PreTrainedModel) -> Text:
    """The language model's shape, from a config by the names that most have."""
    config: Any = model.config.get_text_config()
    hidden, heads = config.hidden_size, config.num_attention_heads
    head = getattr(config, 'head_dim', None) or hidden // heads
    kinds = getattr(config, 'layer_types', None) or ['full_attention'] * config.num_hidden_layers
    window = getattr(config, 'sliding_window', None) or 0
    return Text(
        hidden=hidden,
        keys=head * (getattr(config, 'num_key_value_heads', None) or heads),
        feed_forward=getattr(config, 'intermediate_size', None) or getattr(config, 'ffn_dim', None) or 4 * hidden,
        heads=heads,
        vocabulary=model.get_input_embeddings().weight.shape[0],  # type: ignore[union-attr]
        layers=len(kinds),
        windows=tuple(window if 'sliding' in kind else 0 for kind in kinds if 'attention' in kind),
        eager=config._attn_implementation == 'eager',
    )


def sizes_of(model: PreTrainedModel, lora: LoraArgs | None) -> Sizes:
    """Counts of a skeleton or of a model."""
    decoder: Any = model.get_decoder()
    linear = [
        module for name, module in decoder.named_modules() if isinstance(module, nn.Linear) and 'lora_' not in name
    ]
    own = {id(parameter) for parameter in decoder.parameters()}
    own |= {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer}
    named = [*model.named_parameters()]
    adapters = sum(parameter.numel() for name, parameter in named if 'lora_' in name)
    learning = [parameter for _, parameter in named if parameter.requires_grad]
    new = sum(DEFAULT_RANK * (layer.in_features + layer.out_features) for layer in linear)
    return Sizes(
        base=sum(parameter.numel() for _, parameter in named) - adapters,
        learning=sum(parameter.numel() for parameter in learning),
        coded=sum(layer.weight.numel() for layer in linear),
        rows=sum(layer.out_features for layer in linear),
        outside=sum(parameter.numel() for parameter in learning if id(parameter) not in own),
        adapters=adapters if lora else new,
        has_adapters=lora is not None,
        weight_bytes=sum(parameter.nbytes for _, parameter in named),
        learning_bytes=sum(parameter.nbytes for parameter in learning),
    )


def ways_to_train(
    model: PreTrainedModel, sizes: Sizes, load: Load, half: bool, bits: int | None = None
) -> Iterator[Training]:
    """First what the config says, then the usual alternatives.

    `half`: the config's step computes in 16 bits; `bits`: its language model is held in so many.
    """
    text = text_of(model)
    whole = model.dtype == torch.float32
    size = BFLOAT16 if half or not whole else FLOAT32
    weights = sizes.weight_bytes + (BFLOAT16 * sizes.base if half and whole else 0.0)
    if bits is not None:
        weights = coded_bytes(sizes, bits, FLOAT32 if whole else BFLOAT16) + FLOAT32 * sizes.adapters
    worked = activations(text, load, size), checkpointed(text, load, size)
    yield Training('this config', weights, sizes.learning_bytes, 2 * sizes.learning_bytes, *worked)
    worked = activations(text, load, BFLOAT16), checkpointed(text, load, BFLOAT16)
    all_bytes, rank = FLOAT32 * sizes.base, '' if sizes.has_adapters else f' r={DEFAULT_RANK}'
    yield Training('all learn, float32, computed in bfloat16', 1.5 * all_bytes, all_bytes, 2 * all_bytes, *worked)
    yield Training('all learn, bfloat16', all_bytes / 2, all_bytes / 2, all_bytes, *worked)
    if sizes.outside and sizes.outside < sizes.learning:
        part = BFLOAT16 * sizes.outside
        yield Training('language model frozen, bfloat16', BFLOAT16 * sizes.base, part, 2 * part, *worked)
    part = FLOAT32 * sizes.adapters
    for name, weights in (
        (f'LoRA{rank}, bfloat16', BFLOAT16 * sizes.base),
        (f'QLoRA{rank}, 8 bits', coded_bytes(sizes, 8)),
        (f'QLoRA{rank}, 4 bits', coded_bytes(sizes, 4)),
    ):
        yield Training(name, weights + part, part, 2 * part, *worked)


def ways_to_generate(model: PreTrainedModel, sizes: Sizes, load: Load) -> Iterator[Inference]:
    text = text_of(model)
    yield Inference('float32', FLOAT32 * sizes.base, cache_bytes(text, load, FLOAT32))
    for name, weights in (
        ('bfloat16', BFLOAT16 * sizes.base),
        ('8 bits', coded_bytes(sizes, 8)),
        ('4 bits', coded_bytes(sizes, 4)),
    ):
        yield Inference(name, weights, cache_bytes(text, load, BFLOAT16))


def coded_bytes(sizes: Sizes, bits: int, size: float = BFLOAT16) -> float:
    """Weights with the language model's linear layers in 8 or 4 bits, the rest in `size` bytes a value."""
    rest = size * (sizes.base - sizes.coded)
    if bits == 8:
        return rest + sizes.coded + FLOAT32 * sizes.rows
    return rest + sizes.coded * (1 / 2 + (1 + FLOAT32 / SCALES_BLOCK) / BLOCK)


def layer_bytes(text: Text, load: Load, size: float) -> float:
    """What one layer keeps for its backward pass."""
    values = 7 * text.hidden + 3 * text.keys + 4 * text.feed_forward
    scores = text.heads * load.length * (2 * size + FLOAT32) if text.eager else 0.0
    return load.batch * load.length * (values * size + scores)


def logits_bytes(text: Text, load: Load) -> float:
    return 3 * FLOAT32 * load.batch * min(load.answer, load.length) * text.vocabulary


def activations(text: Text, load: Load, size: float) -> float:
    return text.layers * layer_bytes(text, load, size) + logits_bytes(text, load)


def checkpointed(text: Text, load: Load, size: float) -> float:
    inputs = text.layers * load.batch * load.length * text.hidden * size
    return inputs + layer_bytes(text, load, size) + logits_bytes(text, load)


def cache_bytes(text: Text, load: Load, size: float) -> float:
    tokens = sum(min(load.length, window) if window else load.length for window in text.windows)
    return 2 * text.keys * size * load.batch * tokens
