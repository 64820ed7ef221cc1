"""Stage 4 of the small pretrained model: is the converted language model equal to its source on text?

The other side is an independent reading of the GGUF file: a LLaMA in a page, on the weights exactly as they are
stored, with rotary pairs side by side, and its own greedy loop. Only the tokenizer is shared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gguf import GGUFReader
from gguf_llama import read_fields, read_weights
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

PROMPTS = (
    'The capital of France is',
    'The opposite of hot is',
    'One, two, three, four,',
    'Water is made of hydrogen and',
    'def add(a, b):\n    return',
    '<|im_start|>user\nWhat colour is the sky?<|im_end|>\n<|im_start|>assistant\n',
)
NEW_TOKENS = 12
TEXT = (
    'A link-context episode shows a few pictures with their labels and then asks for the label of a new picture. The '
    'model has to compare the new picture with those it was shown; knowing many pictures from before does not help, '
    'because the labels are invented. In 2024, such a question was asked of 200 concepts: "Is it a xqzt or a blip?"'
)


class SourceModel:
    """Next-token logits from a GGUF file's tensors and metadata."""

    def __init__(self, stored: dict[str, Tensor], fields: dict[str, Any]) -> None:
        self.stored = stored
        self.layers = fields['llama.block_count']
        self.heads = fields['llama.attention.head_count'], fields['llama.attention.head_count_kv']
        self.eps = fields['llama.attention.layer_norm_rms_epsilon']
        self.theta = fields['llama.rope.freq_base']

    def weight(self, name: str, layer: int | None = None) -> Tensor:
        return self.stored[f'{name}.weight' if layer is None else f'blk.{layer}.{name}.weight']

    def norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.eps) * weight

    def rotate(self, states: Tensor) -> Tensor:
        """[heads, L, d] -> the same, each pair (2i, 2i + 1) turned by its position times theta ** (-2i / d)."""
        _, length, width = states.shape
        speed = self.theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angle = torch.outer(torch.arange(length, dtype=torch.float64), speed)
        turned = torch.view_as_complex(states.double().reshape(*states.shape[:2], -1, 2)) * torch.polar(
            torch.ones_like(angle), angle
        )
        return torch.view_as_real(turned).reshape(states.shape).float()

    def attention(self, hidden: Tensor, layer: int) -> Tensor:
        parts = [
            (hidden @ self.weight(name, layer).T).view(len(hidden), count, -1).transpose(0, 1)
            for name, count in (('attn_q', self.heads[0]), ('attn_k', self.heads[1]), ('attn_v', self.heads[1]))
        ]
        query, key = self.rotate(parts[0]), self.rotate(parts[1])
        groups = self.heads[0] // self.heads[1]
        key, value = key.repeat_interleave(groups, 0), parts[2].repeat_interleave(groups, 0)
        scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
        future = torch.ones(len(hidden), len(hidden), dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ value
        return mixed.transpose(0, 1).reshape(len(hidden), -1) @ self.weight('attn_output', layer).T

    @torch.no_grad()
    def logits(self, ids: list[int]) -> Tensor:
        """Ids [L] -> logits [L, V]."""
        hidden = self.weight('token_embd')[torch.tensor(ids)]
        for layer in range(self.layers):
            hidden = hidden + self.attention(self.norm(hidden, self.weight('attn_norm', layer)), layer)
            normed = self.norm(hidden, self.weight('ffn_norm', layer))
            gate, up = normed @ self.weight('ffn_gate', layer).T, normed @ self.weight('ffn_up', layer).T
            hidden = hidden + (F.silu(gate) * up) @ self.weight('ffn_down', layer).T
        head = self.stored.get('output.weight', self.stored['token_embd.weight'])
        return self.norm(hidden, self.weight('output_norm')) @ head.T

    def greedy(self, ids: list[int], count: int, end: int) -> list[int]:
        """The next `count` ids after `ids`, fewer if `end` comes."""
        answer: list[int] = []
        while len(answer) < count and end not in answer:
            answer.append(int(self.logits([*ids, *answer])[-1].argmax()))
        return answer


@dataclass(frozen=True)
class Comparison:
    """`prompts` are (prompt, what both sides continue with, whether their ids are equal)."""

    prompts: list[tuple[str, str, bool]]
    positions: int
    same_top: int
    largest_difference: float

    @property
    def equal(self) -> bool:
        return all(same for *_, same in self.prompts) and self.same_top == self.positions


@torch.no_grad()
def compare(
    gguf: Path, folder: Path, prompts: tuple[str, ...] = PROMPTS, text: str = TEXT, count: int = NEW_TOKENS
) -> Comparison:
    """Greedy ids after each prompt, and top-1 and logits at each position of `text`, by both readings."""
    reader = GGUFReader(gguf)
    fields = read_fields(reader)
    source = SourceModel(read_weights(reader), fields)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = LlamaForCausalLM.from_pretrained(folder).eval()
    end = int(fields['tokenizer.ggml.eos_token_id'])
    rows = []
    for prompt in prompts:
        ids = tokenizer(prompt).input_ids
        inputs = {'input_ids': torch.tensor([ids]), 'attention_mask': torch.ones(1, len(ids), dtype=torch.int64)}
        ours = model.generate(**inputs, max_new_tokens=count, do_sample=False)[0, len(ids) :].tolist()
        rows.append((prompt, tokenizer.decode(ours), ours == source.greedy(ids, count, end)))
    ids = tokenizer(text).input_ids
    ours, theirs = model(torch.tensor([ids])).logits[0], source.logits(ids)
    same = int((ours.argmax(-1) == theirs.argmax(-1)).sum())
    return Comparison(rows, len(ids), same, float((ours - theirs).abs().max()))
