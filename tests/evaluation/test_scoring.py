"""Answers and likelihoods do not depend on the company an episode is in, and equal a computation by hand."""

from typing import Any

import pytest
import torch

from mllm.evaluation.scoring import Scorer
from mllm.types import Preprocessor

Parts = tuple[Any, Preprocessor, Any]


def test_an_episode_alone_and_in_any_batch(parts: Parts):
    model, preprocessor, dataset = parts
    scorer = Scorer(model, preprocessor, {'max_new_tokens': 6})
    samples = [dataset[index] for index in range(6)]
    together, likelihoods = scorer.predict(samples)
    for sample, prediction, likelihood in zip(samples, together, likelihoods, strict=True):
        (alone,), (alone_likelihood,) = scorer.predict([sample])
        assert alone.pred == prediction.pred
        assert alone_likelihood.total == pytest.approx(likelihood.total, abs=1e-4)
        assert alone.score == pytest.approx(prediction.score, abs=1e-5)


def test_likelihood_is_the_mean_log_probability_of_the_answer(parts: Parts):
    model, preprocessor, dataset = parts
    sample = dataset[1]
    (prediction,), (likelihood,) = Scorer(model, preprocessor, {'max_new_tokens': 1}).predict([sample])
    assert set(prediction.score) == set(sample.meta['candidates'])
    for answer in sample.meta['candidates']:
        ids = torch.tensor([[*sample.input_ids, *sample.answers[answer]]])
        with torch.no_grad():
            logits = model(input_ids=ids, pixel_values=sample.images).logits[0, :-1].log_softmax(-1)
        token_scores = logits.gather(1, ids[0, 1:, None])[-len(sample.answers[answer]) :]
        assert prediction.score[answer] == pytest.approx(token_scores.mean().item(), abs=1e-5)
    assert likelihood.mean == pytest.approx(prediction.score[prediction.target])
    assert likelihood.tokens == len(sample.answers[sample.target])


def test_predictions_hold_the_answer_alone(parts: Parts):
    model, preprocessor, dataset = parts
    (prediction,), _ = Scorer(model, preprocessor, {'max_new_tokens': 5}).predict([dataset[0]])
    assert 'FINAL QUESTION' not in prediction.pred
    assert '<' not in prediction.pred
    assert prediction.target == f'there is "{prediction.meta["label"]}" in the image.'


def test_a_changed_support_image_changes_the_scores(parts: Parts):
    model, preprocessor, dataset = parts
    scorer = Scorer(model, preprocessor, {'max_new_tokens': 1})
    sample = dataset[0]
    before = scorer.predict([sample])[0][0].score
    sample.images = sample.images.clone()
    sample.images[0] = -sample.images[0]
    after = scorer.predict([sample])[0][0].score
    assert any(abs(before[answer] - after[answer]) > 1e-4 for answer in before)
