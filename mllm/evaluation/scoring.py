"""Stage 10 of a sample's way: prompts -> answers by greedy generation, and log-likelihoods of given answers.

Generation pads on the left, scoring on the right; both always pass the attention mask, so that an
episode gives the same answer alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mllm.engine.collator import Collator
from mllm.types import IGNORE_INDEX, Prediction, Preprocessor, Sample


@dataclass(frozen=True)
class AnswerLikelihood:
    """Log-likelihood of one answer given its prompt: sum over its tokens, in nats, and their number."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Mean per token: answers of different length compare without a bias to the short."""
        return self.total / self.tokens


class Scorer:
    """Answers samples with a model in evaluation mode. `gen_kwargs` go to `generate` (greedy unless they say so)."""

    def __init__(self, model: Any, preprocessor: Preprocessor, gen_kwargs: Mapping[str, Any]) -> None:
        self.model = model
        self.tokenizer = preprocessor.tokenizer
        self.prompts = Collator(preprocessor, padding_side='left', training=False)
        self.answers = Collator(preprocessor, padding_side='right', training=True)
        self.gen_kwargs = {
            'do_sample': False,
            'num_beams': 1,
            'pad_token_id': self.tokenizer.pad_token_id,
            'bos_token_id': self.tokenizer.bos_token_id,
            'eos_token_id': list(preprocessor.end_token_ids) or self.tokenizer.eos_token_id,
            # An image's token in an answer stands for no image: without a cache, the next step would look for one.
            'suppress_tokens': [preprocessor.image_token_id],
            **gen_kwargs,
        }

    @torch.inference_mode()
    def predict(self, samples: Sequence[Sample]) -> tuple[list[Prediction], list[AnswerLikelihood]]:
        """Predictions of the samples, and the likelihood of each one's target."""
        texts = self.generate(samples)
        likelihoods = self.likelihoods(samples)
        predictions = []
        for sample, text, scores in zip(samples, texts, likelihoods, strict=True):
            candidates = sample.meta.get('candidates', [])
            score = {answer: scores[answer].mean for answer in candidates}
            predictions.append(Prediction(sample.index, text, sample.target, sample.meta, score))
        return predictions, [scores[sample.target] for sample, scores in zip(samples, likelihoods, strict=True)]

    def generate(self, samples: Sequence[Sample]) -> list[str]:
        """The generated answers, without prompt, special tokens and surrounding blanks."""
        inputs = self.to_device(self.prompts(list(samples)))
        ids = self.model.generate(**inputs, **self.gen_kwargs)[:, inputs['input_ids'].shape[1] :]
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def likelihoods(self, samples: Sequence[Sample]) -> list[dict[str, AnswerLikelihood]]:
        """For each sample, the log-likelihood of each of its `answers`."""
        rows = [closed(sample, ids) for sample in samples for ids in sample.answers.values()]
        # As many at a time as there are samples: the caller has chosen that number by its memory.
        chunks = [rows[start : start + len(samples)] for start in range(0, len(rows), len(samples))]
        totals = iter([total for chunk in chunks for total in self.row_likelihoods(chunk)])
        return [{answer: next(totals) for answer in sample.answers} for sample in samples]

    def row_likelihoods(self, rows: Sequence[Sample]) -> list[AnswerLikelihood]:
        inputs = self.to_device(self.answers(list(rows)))
        targets = inputs.pop('labels')[:, 1:]
        columns = (targets != IGNORE_INDEX).any(dim=0).nonzero().squeeze(1)
        logits = self.model(**inputs, logits_to_keep=columns, use_cache=False).logits
        targets = targets[:, columns]
        chosen = logits.float().log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        mask = targets != IGNORE_INDEX
        totals, tokens = (chosen.double() * mask).sum(1).tolist(), mask.sum(1).tolist()
        return [AnswerLikelihood(total, count) for total, count in zip(totals, tokens, strict=True)]

    def to_device(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value.to(self.model.device) for key, value in batch.items() if isinstance(value, Tensor)}


def closed(sample: Sample, answer: Sequence[int]) -> Sample:
    """The sample with an answer after its prompt, supervised on the answer alone."""
    labels = [IGNORE_INDEX] * len(sample.input_ids) + list(answer)
    return replace(sample, input_ids=[*sample.input_ids, *answer], labels=labels)
