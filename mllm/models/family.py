"""Stage 9 of a sample's way, the contract: what a model family owes the data and the trainer.

Families differ by data (templates, runs of token ids, tensors), not by branches in shared code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from transformers import PreTrainedModel

from mllm.types import Preprocessor
from mllm.utils.weights import save_weights

Arguments = TypeVar('Arguments')


class Family(ABC, Generic[Arguments]):
    """Registered in MODELS under the name that `model_args.type` gives.

    arguments   the dataclass of the other keys of `model_args`; its fields are checked before anything is built
    layouts     how `export` can write a model: 'mllm' for runs of ours, and those of others
    """

    arguments: ClassVar[type[Any]]
    layouts: ClassVar[tuple[str, ...]] = ('mllm',)

    @abstractmethod
    def preprocessor(self, args: Arguments) -> Preprocessor:
        """All the data path needs; loads a tokenizer and an image processor, no weights."""

    @abstractmethod
    def model(self, args: Arguments, preprocessor: Preprocessor) -> PreTrainedModel:
        """The model with its weights loaded or drawn from torch's generator, embeddings fitted to the tokenizer, and
        freezing applied."""

    def export(
        self, model: PreTrainedModel, args: Arguments, preprocessor: Preprocessor, layout: str, folder: str
    ) -> None:
        """Write a whole model, without adapters, and what belongs to it. ValueError if `layout` cannot hold it."""
        save_weights(model, folder)
        preprocessor.tokenizer.save_pretrained(folder)
        if preprocessor.save is not None:
            preprocessor.save(folder)
