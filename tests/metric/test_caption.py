"""Caption scores equal pycocoevalcap's own, sample by sample and for all of them."""

import logging
from typing import Any

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from mllm.metric import caption
from mllm.metric.base import Metric
from mllm.metric.caption import CaptionComputeMetrics
from mllm.metric.ptb import tokenize
from mllm.types import Prediction

ANSWERS = ['A dog runs on the beach.', 'two men ride horses', '', 'a cat sits on a red sofa near the window']
REFERENCES = [
    ['a brown dog runs along the beach', 'the dog is running on sand'],
    ['Two men are riding brown horses.', 'men on horses'],
    ['a plate of food'],
    ['a cat sits on a red sofa near the window', 'the cat rests'],
]


def predictions(answers: list[str], references: list[list[str]]) -> list[Prediction]:
    return [Prediction(n, a, r[0], {'references': r}) for n, (a, r) in enumerate(zip(answers, references))]


@pytest.fixture(scope='module')
def metric() -> Metric[Any]:
    return CaptionComputeMetrics(meteor=False)


def test_scores_are_those_of_pycocoevalcap(metric: Metric[Any]):
    given = {n: [' '.join(tokens)] for n, tokens in enumerate(tokenize(ANSWERS))}
    wanted = {n: [' '.join(tokens) for tokens in tokenize(group)] for n, group in enumerate(REFERENCES)}
    numbers, rows = (
        metric.compute(predictions(ANSWERS, REFERENCES)),
        metric.per_sample(predictions(ANSWERS, REFERENCES)),
    )
    total, each = Cider().compute_score(wanted, given)
    assert numbers['cider'] == pytest.approx(total)
    assert [row['cider'] for row in rows] == pytest.approx(list(each))
    bleus, each = Bleu(4).compute_score(wanted, given, verbose=0)
    assert [numbers[f'bleu_{n}'] for n in (1, 2, 3, 4)] == pytest.approx(bleus)
    assert [row['bleu_4'] for row in rows] == pytest.approx(each[3])
    total, each = Rouge().compute_score(wanted, given)
    assert numbers['rouge_l'] == pytest.approx(total)
    assert [row['rouge_l'] for row in rows] == pytest.approx(list(each))
    assert (numbers['n'], numbers['parse_failures']) == (4, 1)
    for name in ('cider', 'bleu_4', 'bleu_1', 'rouge_l'):
        assert numbers[f'{name}_ci_low'] <= numbers[name] <= numbers[f'{name}_ci_high']
    assert np.isfinite(list(numbers.values())).all()


def test_what_is_right_word_for_word_is_perfect(metric: Metric[Any]):
    answers = [group[0] for group in REFERENCES]
    numbers = metric.compute(predictions(answers, [[answer] for answer in answers]))
    assert numbers['bleu_4'] == pytest.approx(1, abs=1e-6)
    assert numbers['rouge_l'] == pytest.approx(1)
    assert numbers['cider'] > 5


def test_boxes_are_no_words(metric: Metric[Any]):
    plain = metric.compute(predictions(ANSWERS, REFERENCES))
    boxed = ['A dog[0.100,0.200,0.300,0.400] runs on the beach[0.1,0.2].', *ANSWERS[1:]]
    assert metric.compute(predictions(boxed, REFERENCES)) == plain
    tokens = CaptionComputeMetrics({'type': 'TokenFormatter', 'num_bins': 8}, meteor=False)
    written = ['A dog<b_st><bin_1> <bin_2> <bin_3> <bin_4><b_sep><bin_1><bin_2><bin_3><bin_4><b_ed> runs on the beach.']
    assert tokens.compute(predictions(written + ANSWERS[1:], REFERENCES)) == plain
    target = Prediction(0, 'a man', 'a man[0.100,0.200,0.300,0.400]')
    assert metric.per_sample([target])[0]['rouge_l'] == pytest.approx(1)


def test_meteor_runs_or_says_why_not(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    given = predictions(ANSWERS[:2], REFERENCES[:2])
    if caption.shutil.which('java'):
        numbers = CaptionComputeMetrics().compute(given)
        assert 0.2 < numbers['meteor'] < 1
    monkeypatch.setattr(caption.shutil, 'which', lambda name: None)
    caption.warn_once.cache_clear()
    monkeypatch.setattr(logging.getLogger('mllm'), 'propagate', True)
    with caplog.at_level(logging.WARNING):
        numbers = CaptionComputeMetrics().compute(given)
        CaptionComputeMetrics().compute(given)
    assert 'meteor' not in numbers
    assert [record.message for record in caplog.records] == ['METEOR is left out: Java is not installed']


def test_without_predictions_or_references(metric: Metric[Any]):
    assert metric.compute([]) == {'n': 0, 'parse_failures': 0}
    with pytest.raises(ValueError, match='sample 3: there is no reference'):
        metric.compute([Prediction(3, 'a', '')])


def test_spice_is_left_out_with_its_reason(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    caption.warn_once.cache_clear()
    monkeypatch.setattr(logging.getLogger('mllm'), 'propagate', True)
    with caplog.at_level(logging.WARNING):
        numbers = CaptionComputeMetrics(meteor=False, spice=True).compute(predictions(ANSWERS[:2], REFERENCES[:2]))
    if 'spice' in numbers:
        assert 0 < numbers['spice'] <= 1
    else:
        assert 'SPICE is left out: ' in caplog.text
