"""Stage 2 of the small pretrained model: a GGUF file of the LLaMA architecture -> a Hugging Face folder.

Weights are written in float32: it holds every dequantised value exactly, so the folder equals its source number for
number, at twice the size of a rounding to 16 bits. GGUF stores the rows of q and k so that rotary pairs lie next to
each other; Hugging Face rotates the first half of a head against the second one, so the rows are put back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTROL, USER_DEFINED = 3, 4
"""Numbers of token types in GGUF: special tokens, and others that are one token wherever their text stands."""

TOP = {
    'token_embd': 'model.embed_tokens',
    'output_norm': 'model.norm',
    'output': 'lm_head',
}
LAYER = {
    'attn_norm': 'input_layernorm',
    'attn_q': 'self_attn.q_proj',
    'attn_k': 'self_attn.k_proj',
    'attn_v': 'self_attn.v_proj',
    'attn_output': 'self_attn.o_proj',
    'ffn_norm': 'post_attention_layernorm',
    'ffn_gate': 'mlp.gate_proj',
    'ffn_up': 'mlp.up_proj',
    'ffn_down': 'mlp.down_proj',
}
PRE_TOKENIZERS = {
    'smollm': lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    'gpt-2': lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
}
"""By `tokenizer.ggml.pre`: how text is cut before merges. A wrong one gives other tokens without a word."""


def read_fields(reader: GGUFReader) -> dict[str, Any]:
    """The file's metadata; ValueError unless it describes a LLaMA with a byte-level BPE that is known here."""
    fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
    faults = [
        f'{name} is {fields.get(name)!r}, expected one of {", ".join(map(repr, known))}'
        for name, known in (
            ('general.architecture', ['llama']),
            ('tokenizer.ggml.model', ['gpt2']),
            ('tokenizer.ggml.pre', list(PRE_TOKENIZERS)),
        )
        if fields.get(name) not in known
    ]
    faults += [f'{name} is not supported' for name in fields if name.startswith('llama.rope.scaling')]
    if faults:
        raise ValueError('this GGUF file cannot be converted: ' + '; '.join(faults))
    return fields


def llama_config(fields: dict[str, Any], tied: bool) -> LlamaConfig:
    """The architecture as the file describes it."""
    return LlamaConfig(
        vocab_size=len(fields['tokenizer.ggml.tokens']),
        hidden_size=fields['llama.embedding_length'],
        intermediate_size=fields['llama.feed_forward_length'],
        num_hidden_layers=fields['llama.block_count'],
        num_attention_heads=fields['llama.attention.head_count'],
        num_key_value_heads=fields['llama.attention.head_count_kv'],
        max_position_embeddings=fields['llama.context_length'],
        # Stored as float32; the shortest number that rounds to it is the one that was meant.
        rms_norm_eps=float(f'{fields["llama.attention.layer_norm_rms_epsilon"]:.6g}'),
        rope_parameters={'rope_type': 'default', 'rope_theta': float(fields['llama.rope.freq_base'])},
        tie_word_embeddings=tied,
        dtype='float32',
        **special_ids(fields),
    )


def special_ids(fields: dict[str, Any]) -> dict[str, Any]:
    names = {'bos_token_id': 'bos', 'eos_token_id': 'eos', 'pad_token_id': 'padding'}
    return {key: int(fields[f'tokenizer.ggml.{name}_token_id']) for key, name in names.items()}


def unpermute(weight: Tensor, heads: int) -> Tensor:
    """Rows [heads * (d/2) * 2, C] with rotary pairs side by side -> pairs d/2 apart, as Hugging Face rotates."""
    pairs = weight.view(heads, -1, 2, weight.shape[1])
    return pairs.transpose(1, 2).reshape(weight.shape)


def read_weights(reader: GGUFReader) -> dict[str, Tensor]:
    """All tensors by their name in the file, dequantised to float32, rows as stored."""
    return {
        tensor.name: torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()) for tensor in reader.tensors
    }


def convert_weights(stored: dict[str, Tensor], config: LlamaConfig) -> dict[str, Tensor]:
    """The weights under Hugging Face's names; ValueError that lists the tensors nobody asked for."""
    heads = {'attn_q': config.num_attention_heads, 'attn_k': config.num_key_value_heads}
    weights, unknown = {}, []
    for name, tensor in stored.items():
        *place, part, kind = name.split('.')
        if kind == 'weight' and not place and part in TOP:
            weights[f'{TOP[part]}.weight'] = tensor
        elif kind == 'weight' and place[:1] == ['blk'] and part in LAYER:
            rows = unpermute(tensor, int(heads[part] or 0)) if part in heads else tensor
            weights[f'model.layers.{place[1]}.{LAYER[part]}.weight'] = rows
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f'no place in a LLaMA for {", ".join(unknown)}')
    return weights


def build_model(stored: dict[str, Tensor], fields: dict[str, Any]) -> LlamaForCausalLM:
    """The model with all its weights, in evaluation mode; ValueError if one is missing or of another shape."""
    config = llama_config(fields, tied='output.weight' not in stored)
    model = LlamaForCausalLM(config)
    try:
        missing, unexpected = model.load_state_dict(convert_weights(stored, config), strict=False)
    except RuntimeError as error:
        raise ValueError(f'the weights do not fit the architecture in the file: {error}') from error
    absent = [name for name in missing if not (config.tie_word_embeddings and name == 'lm_head.weight')]
    if absent or unexpected:
        raise ValueError(f'the file lacks {absent}; a LLaMA has no place for {unexpected}')
    return model.eval()


def build_tokenizer(fields: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The file's own vocabulary, merges, special tokens and chat template; it adds no token in front of a text."""
    tokens, kinds = fields['tokenizer.ggml.tokens'], fields['tokenizer.ggml.token_type']
    merges = [tuple(merge.split(' ')) for merge in fields['tokenizer.ggml.merges']]
    tokenizer = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[fields['tokenizer.ggml.pre']]()
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=kind == CONTROL)])
    ids = special_ids(fields)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[ids['bos_token_id']],
        eos_token=tokens[ids['eos_token_id']],
        pad_token=tokens[ids['pad_token_id']],
        unk_token=tokens[int(fields['tokenizer.ggml.unknown_token_id'])],
        chat_template=fields['tokenizer.chat_template'],
        model_max_length=int(fields['llama.context_length']),
        clean_up_tokenization_spaces=False,
    )


def convert(gguf: Path, folder: Path) -> None:
    """Write config.json, generation_config.json, model.safetensors and the tokenizer's files to `folder`."""
    reader = GGUFReader(gguf)
    fields = read_fields(reader)
    model = build_model(read_weights(reader), fields)
    model.generation_config = GenerationConfig(**special_ids(fields))
    model.save_pretrained(folder)
    build_tokenizer(fields).save_pretrained(folder)
    source = {key: fields[key] for key in ('general.name', 'general.license') if key in fields}
    (folder / 'source.json').write_text(json.dumps({**source, 'file': gguf.name}, indent=2) + '\n')
