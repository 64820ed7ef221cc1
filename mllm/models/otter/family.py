"""Stage 9 of a sample's way: Otter, a Flamingo that answers after `<answer>`.

What differs is data: tokens, prompt, what learns. `<answer>`..`<|endofchunk|>` is learnt, in supports too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from mllm.conversation.episode_template import EpisodeTemplate
from mllm.models.flamingo.arguments import FlamingoArguments
from mllm.models.flamingo.family import FlamingoFamily, without_bos
from mllm.models.flamingo.published import save_otter
from mllm.registry import MODELS


@dataclass(frozen=True)
class OtterArguments(FlamingoArguments):
    """Those of OpenFlamingo with Otter's defaults.

    conv_args   conv_template 'otter' writes prompts without blanks, as in its training, 'otter_spaced' with them, as in
                its demo
    """

    cross_attn_every_n_layers: int = 4
    tune_embeddings: Literal['added', 'all', 'none'] = 'all'


@MODELS.register_module('otter')
class OtterFamily(FlamingoFamily):
    """Otter over LLaMA or MPT."""

    arguments = OtterArguments
    template = 'otter'

    def fit_template(self, template: EpisodeTemplate, tokenizer: PreTrainedTokenizerBase) -> EpisodeTemplate:
        """Otter writes BOS itself, whatever its tokenizer does, if that has one."""
        return template if tokenizer.bos_token_id is not None else without_bos(template)

    def write_original(self, model: Any, args: FlamingoArguments, folder: str) -> None:
        save_otter(model, folder)
