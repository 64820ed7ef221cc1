"""Stage 11 of a sample's way for sentences: captions and region descriptions against one or several references.

    text --formatter.remove, ptb.tokenize--> tokens --pycocoevalcap--> CIDEr, BLEU, ROUGE-L, METEOR

The scores are those of COCO's caption evaluation (pycocoevalcap), for each sample and for all of them.
"""

from __future__ import annotations

import functools
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mllm.metric.base import Metric, Numbers, mean
from mllm.metric.grounding import build_formatter
from mllm.metric.ptb import tokenize
from mllm.metric.statistics import bootstrap_of
from mllm.registry import METRICS
from mllm.types import Prediction
from mllm.utils.log import get_logger

logger = get_logger(__name__)

ORDERS = 4
"""BLEU counts n-grams of 1 to so many words."""
SMALL, TINY = 1e-9, 1e-15
"""What pycocoevalcap adds below and above a fraction line in BLEU."""

SPICE_MODELS = ('stanford-corenlp-3.6.0.jar', 'stanford-corenlp-3.6.0-models.jar')

Texts = dict[int, list[str]]
"""Sentences by sample, tokens with single blanks between."""


@METRICS.register_module()
class CaptionComputeMetrics(Metric[str]):
    """CIDEr, BLEU-1 to 4, ROUGE-L and METEOR of the sentence answered, against `meta['references']` or the target.

    Boxes and points in the answer are left out before. An empty answer is a parse failure and scores as a sentence
    without words. `cider`, `rouge_l` and `meteor` are means over samples, BLEU is of the corpus; all have 95 %
    intervals by resampling samples. CIDEr weighs words by how few of the samples' references have them, so it says
    nothing of very few samples (of one it is 0). METEOR needs Java; where it cannot run, a warning says so and it is
    left out.

    formatter   how boxes are written
    meteor      False leaves METEOR out
    spice       True asks for SPICE, which needs Java and Stanford's models in pycocoevalcap's folder spice/lib
    """

    def __init__(self, formatter: Mapping[str, Any] | None = None, meteor: bool = True, spice: bool = False) -> None:
        self.formatter = build_formatter(formatter)
        self.meteor = meteor
        self.spice = spice
        scorers()

    def extract(self, prediction: Prediction) -> str | None:
        return ' '.join(self.formatter.remove(prediction.pred).split()) or None

    def score(self, value: str, prediction: Prediction) -> float:
        """ROUGE-L, the one of the scores that lies in 0..1 and needs no other sample."""
        return float(self.per_sample([prediction])[0]['rouge_l'])

    def references(self, prediction: Prediction) -> list[str]:
        references = prediction.meta.get('references') or [self.formatter.remove(prediction.target)]
        if not any(text.strip() for text in references):
            raise ValueError(f'sample {prediction.index}: there is no reference to compare with')
        return list(references)

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        """Rows with `index`, `extracted`, `parsed` and the scores, `bleu_1` to `bleu_4` among them."""
        if not predictions:
            return []
        answers = [self.extract(prediction) for prediction in predictions]
        right = [self.references(prediction) for prediction in predictions]
        columns, counts = score_columns(answers, right, self.meteor, self.spice)
        return [
            {
                'index': prediction.index,
                'extracted': answer,
                'parsed': answer is not None,
                **{name: float(values[n]) for name, values in columns.items()},
                'bleu_counts': counts[n],
            }
            for n, (prediction, answer) in enumerate(zip(predictions, answers, strict=True))
        ]

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        numbers: Numbers = {'n': len(rows), 'parse_failures': sum(not row['parsed'] for row in rows)}
        if not rows:
            return numbers
        numbers |= mean('cider', [row['cider'] for row in rows], predictions)
        counts = np.array([row['bleu_counts'] for row in rows], dtype=float)
        for order in range(ORDERS, 0, -1):
            of = functools.partial(bleu, order=order)
            low, high = bootstrap_of(counts, of)
            numbers |= {f'bleu_{order}': float(of(counts.sum(axis=0)))}
            numbers |= {f'bleu_{order}_ci_low': low, f'bleu_{order}_ci_high': high}
        for name in ('rouge_l', 'meteor', 'spice'):
            if all(name in row for row in rows):
                numbers |= mean(name, [row[name] for row in rows], predictions)
        return numbers


@functools.cache
def scorers() -> dict[str, Any]:
    """The scorers of pycocoevalcap; ValueError that says how to install it."""
    try:
        from pycocoevalcap.bleu.bleu_scorer import BleuScorer
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError as error:
        raise ValueError(
            "CaptionComputeMetrics needs the package pycocoevalcap; install it with pip install -e '.[caption]'"
        ) from error
    return {'bleu': BleuScorer, 'cider': Cider, 'rouge': Rouge}


def score_columns(
    answers: Sequence[str | None], references: Sequence[Sequence[str]], meteor: bool, spice: bool
) -> tuple[dict[str, Sequence[float]], list[list[float]]]:
    """Scores by name over samples, and `bleu_counts`."""
    given, wanted = one_each(answers), several(references)
    columns: dict[str, Sequence[float]] = {'cider': scorers()['cider']().compute_score(wanted, given)[1]}
    columns |= {f'bleu_{n + 1}': values for n, values in enumerate(bleu_of_samples(wanted, given))}
    columns['rouge_l'] = scorers()['rouge']().compute_score(wanted, given)[1]
    for name, wished, score in (('meteor', meteor, meteor_scores), ('spice', spice, spice_scores)):
        if wished and (scores := score(wanted, given)) is not None:
            columns[name] = scores
    return columns, bleu_counts(wanted, given)


def one_each(texts: Sequence[str | None]) -> Texts:
    return {n: [' '.join(tokens)] for n, tokens in enumerate(tokenize([text or '' for text in texts]))}


def several(texts: Sequence[Sequence[str]]) -> Texts:
    """All references in one pass: the Java tokeniser takes longer to start than for thousands of lines."""
    flat = iter(tokenize([text for group in texts for text in group]))
    return {n: [' '.join(next(flat)) for _ in group] for n, group in enumerate(texts)}


def bleu_scorer(wanted: Texts, given: Texts) -> Any:
    scorer = scorers()['bleu'](n=ORDERS)
    for n, texts in given.items():
        scorer += (texts[0], wanted[n])
    return scorer


def bleu_of_samples(wanted: Texts, given: Texts) -> list[list[float]]:
    """BLEU-1 to 4 of each sample alone."""
    return bleu_scorer(wanted, given).compute_score(option='closest')[1]


def bleu_counts(wanted: Texts, given: Texts) -> list[list[float]]:
    """For each sample: words answered, words of the reference closest in length, n-grams right and n-grams answered."""
    found = []
    for entry in bleu_scorer(wanted, given).ctest:
        length = entry['testlen']
        closest = min((abs(other - length), other) for other in entry['reflen'])[1]
        found.append([length, closest, *entry['correct'], *entry['guess']])
    return found


def bleu(sums: np.ndarray, order: int) -> np.ndarray:
    """BLEU (Papineni et al., 2002) of sums [..., 2 + 2 * ORDERS] of `bleu_counts`, as pycocoevalcap computes it."""
    right, answered = sums[..., 2 : 2 + order], sums[..., 2 + ORDERS : 2 + ORDERS + order]
    precision = np.exp(np.log((right + TINY) / (answered + SMALL)).mean(axis=-1))
    length = (sums[..., 0] + TINY) / (sums[..., 1] + SMALL)
    return precision * np.exp(np.minimum(0.0, 1 - 1 / length))


def meteor_scores(wanted: Texts, given: Texts) -> list[float] | None:
    """METEOR of each sample; None, with a warning once, where its Java program cannot run."""

    def run() -> list[float]:
        from pycocoevalcap.meteor.meteor import Meteor

        scorer = Meteor()
        try:
            return scorer.compute_score(wanted, given)[1]
        finally:
            scorer.meteor_p.kill()
            scorer.meteor_p.wait()

    return java_scores('METEOR', run)


def spice_scores(wanted: Texts, given: Texts) -> list[float] | None:
    """SPICE of each sample; None, with a warning once, where its Java program or the models it needs are not there."""

    def run() -> list[float]:
        import pycocoevalcap.spice.spice as spice

        missing = [name for name in SPICE_MODELS if not Path(spice.__file__).with_name('lib').joinpath(name).is_file()]
        if missing:
            # Its own code would fetch them from the network.
            raise ValueError(f'{", ".join(missing)} missing in {Path(spice.__file__).with_name("lib")}')
        return [entry['All']['f'] for entry in spice.Spice().compute_score(wanted, given)[1]]

    return java_scores('SPICE', run)


def java_scores(name: str, run: Callable[[], list[float]]) -> list[float] | None:
    """The scores of a Java program of pycocoevalcap; None, with a warning once, where it cannot run."""
    if shutil.which('java') is None:
        warn_once(f'{name} is left out: Java is not installed')
        return None
    try:
        scores = run()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        warn_once(f'{name} is left out: its Java program failed ({error})')
        return None
    return [0.0 if math.isnan(score) else score for score in scores]


@functools.cache
def warn_once(text: str) -> None:
    logger.warning(text)
