"""Stage 9 of a sample's way, the keys of `model_args` that every family has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Required, TypedDict

from mllm.models.hub import part_faults

AttentionName = Literal['eager', 'sdpa', 'flash_attention_2', 'flex_attention']


class ConvArgs(TypedDict, total=False):
    conv_template: str
    episode_template: str
    transforms: dict[str, Any] | None


class TargetProcessor(TypedDict):
    boxes: dict[str, Any]


class LoraArgs(TypedDict, total=False):
    """Low-rank adapters on the linear layers that match one of `target`; see `mllm.models.adapters`."""

    r: Required[int]
    alpha: float
    dropout: float
    target: Sequence[str]
    dora: bool


class QuantizationArgs(TypedDict, total=False):
    """Weights of the language model in 4 or 8 bits, by bitsandbytes; see `mllm.models.quantization`."""

    bits: Required[Literal[4, 8]]
    kind: Literal['nf4', 'fp4']
    double: bool


@dataclass(frozen=True)
class ModelArguments:
    """What a family's own arguments add to. Paths are folders or names on the Hugging Face hub.

    model_name_or_path   a whole model: one saved by a run of ours, or a published one
    tokenizer            where the tokenizer lies if not with the model
    model_max_length     longest sequence, in tokens; supports are dropped from the front of longer ones
    dtype                of the weights; training_args.bf16 computes in bfloat16 on float32 weights
    attn_implementation  of the language model, as transformers names them; see `mllm.models.attention`
    freeze, tune         name patterns of parameters that do not learn, and of exceptions from all freezing
    lora                 dict(r=, alpha=, dropout=, target=[patterns], dora=): adapters learn, and else only what `tune`
                         names. Checkpoints then hold what was learnt alone
    adapter              folder of such a checkpoint, loaded over the model that the other keys describe
    quantization         dict(bits=4 or 8, kind='nf4', double=True)
    target_processor     dict(boxes=dict(type=...)): how boxes and points are written
    conv_args            dict(conv_template=, episode_template=, transforms=dict(type=...))
    """

    model_name_or_path: str | None = None
    tokenizer: str | None = None
    model_max_length: int = 2048
    dtype: Literal['float32', 'bfloat16', 'float16'] = 'float32'
    attn_implementation: AttentionName | None = None
    freeze: Sequence[str] = ()
    tune: Sequence[str] = ()
    lora: LoraArgs | None = None
    adapter: str | None = None
    quantization: QuantizationArgs | None = None
    target_processor: TargetProcessor = field(default_factory=lambda: {'boxes': {'type': 'PlainBoxFormatter'}})
    conv_args: ConvArgs = field(default_factory=lambda: {'transforms': {'type': 'Expand2square'}})

    def __post_init__(self) -> None:
        faults = [*self.faults()]
        if faults:
            raise ValueError('\n'.join(faults))

    def faults(self) -> Iterator[str]:
        """What is wrong with the arguments, one line each; families add theirs."""
        if self.lora is not None:
            yield from lora_faults(self.lora)
        if self.adapter is not None and self.lora is None:
            yield 'model_args.adapter needs model_args.lora as in the run that made it'
        if self.quantization is not None and self.lora is None:
            yield 'model_args.quantization: weights in 4 or 8 bits cannot learn themselves; add model_args.lora'

    def part_faults(self, *names: str) -> Iterator[str]:
        """Faults of the parts that are given as dicts."""
        for name in names:
            if isinstance(part := getattr(self, name), Mapping):
                yield from part_faults(name, part)

    def patterns(self) -> tuple[list[str], list[str]]:
        """What `apply_freeze` takes; families with switches of their own add what those stand for."""
        return [*self.freeze], [*self.tune]


def lora_faults(lora: LoraArgs) -> Iterator[str]:
    rank, alpha, dropout = lora.get('r', 1), lora.get('alpha', 1), lora.get('dropout', 0.0)
    if not isinstance(rank, int) or rank < 1:
        yield f'model_args.lora.r={rank!r}: the rank is a whole number from 1'
    if not isinstance(alpha, int | float) or alpha <= 0:
        yield f'model_args.lora.alpha={alpha!r}: the scale is above 0; LoRA adds alpha / r times its product'
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        yield f'model_args.lora.dropout={dropout!r}: a share from 0 to below 1'
