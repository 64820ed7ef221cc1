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


def test_what_is_asked_of_generation_and_what_is_kept_of_it(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    model, preprocessor, dataset = parts
    tokenizer = preprocessor.tokenizer
    samples = [dataset[0], dataset[1]]
    asked: dict[str, Any] = {}

    def generate(**inputs: Any) -> torch.Tensor:
        asked.update(inputs, training=model.training)
        answer = torch.tensor([samples[0].answers[samples[0].target] + [tokenizer.pad_token_id] * 3] * len(samples))
        return torch.cat([inputs['input_ids'], answer], dim=1)

    monkeypatch.setattr(model, 'generate', generate)
    scorer = Scorer(model, preprocessor, {'max_new_tokens': 7, 'num_beams': 2})
    assert scorer.generate(samples) == [samples[0].target] * 2
    assert (asked['max_new_tokens'], asked['num_beams'], asked['do_sample']) == (7, 2, False)
    assert asked['eos_token_id'] == tokenizer.eos_token_id
    assert asked['suppress_tokens'] == [preprocessor.image_token_id]
    # On the left: the last column is a prompt's end in every row.
    assert asked['attention_mask'][:, -1].all()


def test_many_candidates_are_scored_a_batch_at_a_time(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    model, preprocessor, dataset = parts
    scorer = Scorer(model, preprocessor, {'max_new_tokens': 1})
    samples = [dataset[0], dataset[1], dataset[2]]
    for sample in samples:
        sample.answers |= {f'answer {number}': [*range(10, 12 + number)] for number in range(3)}
    sizes: list[int] = []
    inner = scorer.row_likelihoods
    monkeypatch.setattr(Scorer, 'row_likelihoods', lambda self, rows: sizes.append(len(rows)) or inner(rows))
    together = scorer.likelihoods(samples)
    assert max(sizes) <= len(samples)
    for sample, found in zip(samples, together, strict=True):
        assert list(found) == list(sample.answers)
        (alone,) = scorer.likelihoods([sample])
        assert {answer: value.total for answer, value in found.items()} == pytest.approx(
            {answer: value.total for answer, value in alone.items()}, abs=1e-4
        )
