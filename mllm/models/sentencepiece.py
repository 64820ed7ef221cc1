"""Stage 7 of a sample's way, before it: LLaMA-1's tokenizer from `tokenizer.model` and `added_tokens.json` alone.

Published LLaVA-v1, Shikra and Link-Context Learning weights ship nothing else. They were trained with the slow LLaMA
tokenizer of transformers 4, which today's `AutoTokenizer` does not reproduce:

    every stretch of text between special tokens is tokenised alone, with a blank piece in front
    added tokens swallow the white space on both sides; <s>, </s> and <unk> do not
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import SentencePieceExtractor

MODEL_FILE, ADDED_FILE = 'tokenizer.model', 'added_tokens.json'
BPE, NORMAL = 2, 1
"""Numbers of a model type and of a piece type in sentencepiece's own format."""
BLANK = '\u2581'
"""How sentencepiece writes a blank."""


def from_sentencepiece(model_file: str | Path, added_file: str | Path | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a sentencepiece BPE model, with added tokens by id; unknown pieces pad.

    ValueError for other kinds of models, and for added tokens whose ids do not follow on the model's pieces.
    """
    proto = read_model(model_file)
    spec = proto.trainer_spec
    pieces = [piece.piece for piece in proto.pieces]
    unk, bos, eos = (pieces[number] for number in (spec.unk_id, spec.bos_id, spec.eos_id))
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=merges(proto),
            unk_token=unk,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(' ', BLANK)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f'{bos} $A', pair=f'{bos} $A {bos} $B', special_tokens=[(bos, spec.bos_id)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (unk, bos, eos)])
    if added_file is not None:
        tokenizer.add_special_tokens([swallowing(token) for token in read_added(added_file, len(pieces))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unk,
        bos_token=bos,
        eos_token=eos,
        pad_token=unk,
        clean_up_tokenization_spaces=False,
    )


def swallowing(token: str) -> AddedToken:
    """A special token that takes the white space on both its sides, as all added tokens of transformers 4 did."""
    return AddedToken(token, lstrip=True, rstrip=True, normalized=False, special=True)


def read_model(path: str | Path) -> Any:
    """A parsed sentencepiece model; ValueError unless it is a BPE with byte pieces that leaves its text as it is."""
    try:
        proto: Any = SentencePieceExtractor(str(path)).proto
    except Exception as error:  # protobuf's DecodeError has no public name of its own
        raise ValueError(f'{path} is not a sentencepiece model ({error}); fetch it again') from error
    spec, text = proto.trainer_spec, proto.normalizer_spec
    faults = [
        *([] if spec.model_type == BPE else ['is no BPE']),
        *([] if spec.byte_fallback else ['has no byte pieces']),
        *(['changes characters'] if text.precompiled_charsmap else []),
        *([] if text.add_dummy_prefix and not text.remove_extra_whitespaces else ['treats blanks in another way']),
    ]
    if faults:
        raise ValueError(f'{path}: this sentencepiece model {" and ".join(faults)}; only those of LLaMA are read here')
    return proto


def merges(proto: Any) -> list[tuple[str, str]]:
    """Pairs of pieces that make another one, best score first; sentencepiece itself stores only scores."""
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == NORMAL}
    rank = {piece: number for number, piece in enumerate(scores)}
    pairs = [
        (-scores[piece], rank[left], rank[right], left, right)
        for piece in scores
        for left, right in ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        if left in rank and right in rank
    ]
    return [pair[3:] for pair in sorted(pairs)]


def read_added(path: str | Path, first: int) -> list[str]:
    """The tokens of `added_tokens.json` ({token: id}) by id; the first one must be `first`."""
    try:
        ids = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: not JSON ({error}); expected an object of ids by token') from error
    if not isinstance(ids, dict) or sorted(ids.values()) != list(range(first, first + len(ids))):
        raise ValueError(f'{path}: expected an object of ids by token, from {first} on without gaps, got {ids!r:.200}')
    return sorted(ids, key=lambda token: ids[token])
