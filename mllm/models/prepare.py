"""Stage 9 of a sample's way, before training: what is done to every family's model once its weights are there."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from mllm.models.adapters import add_lora
from mllm.models.arguments import ModelArguments
from mllm.models.freeze import apply_freeze
from mllm.models.tokens import fit_embeddings
from mllm.types import Preprocessor
from mllm.utils.weights import load_weights


def prepare_model(
    model: PreTrainedModel, args: ModelArguments, preprocessor: Preprocessor, lora_target: Sequence[str]
) -> None:
    """Fit the embeddings to the tokenizer, set the special ids, freeze, and add adapters, in place.

    `lora_target` has the name patterns of the layers that get adapters where `lora.target` names none.
    """
    tokenizer = preprocessor.tokenizer
    fit_embeddings(model, len(tokenizer))
    model.generation_config.update(  # type: ignore[union-attr]
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(preprocessor.end_token_ids) or tokenizer.eos_token_id,
    )
    freeze, tune = args.patterns()
    apply_freeze(model, freeze, tune)
    if args.lora is not None:
        add_lora(model, args.lora, tune, lora_target)
    if args.adapter is not None:
        load_weights(model, args.adapter)
