"""Stage 11 of a sample's way for short answers: text -> the answer in it -> its normal form -> exact match.

'There are two. So the answer is 2.' --answer_of--> '2' --normalise_vqa--> '2'
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from mllm.metric.base import Metric, Numbers, TableRow, rate
from mllm.metric.tables import numbers_by
from mllm.registry import METRICS
from mllm.types import Prediction

LEAD = re.compile(r'(?:\b(?:so )?the answer is\b:?|\banswer:)', re.IGNORECASE)
"""What an answer stands behind in the formats that published checkpoints were trained with."""
SENTENCE = re.compile(r'(?:(?<=\w\w)(?<!\b[SM]t)(?<!\b[MDJ]r)(?<!\bMrs)(?<!\bMs)|(?<=[\d)\]]))\.\s+(?=[A-Z])')
"""Between two sentences, but not behind an abbreviation: one letter, St., Mt., Mr., Dr., Jr., Mrs. or Ms."""
LEGACY = re.compile(r'(?:So the answer is|The answer is|the answer is|Answer:) (.+)')

DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
NUMBERS = {name: str(number) for number, name in enumerate(DIGITS)}
NUMBERS['none'] = '0'
ARTICLES = {'a', 'an', 'the'}
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's i'm i've isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll
somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd
there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def without_some(word: str) -> list[str]:
    """A contraction with one or all of its apostrophes left out."""
    marks = [position for position, letter in enumerate(word) if letter == "'"]
    gone = [set(some) for count in range(1, len(marks) + 1) for some in combinations(marks, count)]
    return [''.join(letter for position, letter in enumerate(word) if position not in some) for some in gone]


CONTRACTIONS = {short: word for word in CONTRACTED.split() for short in without_some(word)}


def answer_of(text: str) -> str | None:
    """The answer within a text: what stands behind the last 'the answer is' or 'Answer:', else all of it; in its line
    and up to the end of its sentence, without the full stop. None if nothing is left.
    """
    *_, tail = LEAD.split(text)
    line = next((line for line in tail.split('\n') if line.strip()), '')
    answer = SENTENCE.split(line.strip())[0].strip().rstrip('.').strip()
    return answer or None


def legacy_answer(text: str) -> str | None:
    """The released rule (Shikra): behind the lead words to the end of the line, if they stand there exactly once."""
    found = LEGACY.findall(text.strip())
    return found[0].strip().rstrip('.').strip() if len(found) == 1 else None


def normalise_vqa(text: str) -> str:
    """The normal form of the official VQA evaluation (Antol et al., VQA, 2015): lower case, without punctuation and
    articles, numbers up to ten as digits, contractions with their apostrophes.
    """
    text = ' '.join(text.split())
    digits = re.search(r'\d,\d', text) is not None
    out = text
    for mark in PUNCTUATION:
        alone = f'{mark} ' in text or f' {mark}' in text
        out = out.replace(mark, '' if alone or digits else ' ')
    out = re.sub(r'\.(?!\d)', '', out)
    words = [NUMBERS.get(word, word) for word in out.lower().split()]
    return ' '.join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def right_answer(prediction: Prediction) -> str:
    """`meta['answer']`, or the answer within the target."""
    answer = prediction.meta.get('answer', answer_of(prediction.target))
    if answer is None:
        raise ValueError(f'sample {prediction.index}: no answer in the target {prediction.target!r}')
    return str(answer)


@METRICS.register_module()
class GQAComputeMetrics(Metric[str]):
    """Exact match of short answers after the official VQA normalisation (GQA, CLEVR, VQA with one answer).

    Reads of `meta`: `answer`, else it is taken from the target; `types` (a dict of names, for GQA), of which each gives
    a table. Numbers: `n`, `parse_failures` (no answer), `accuracy`, and `legacy_accuracy` (the released rule: after
    "The answer is", case and all), to compare with published numbers.
    """

    legacy = staticmethod(legacy_answer)

    def extract(self, prediction: Prediction) -> str | None:
        return answer_of(prediction.pred)

    def score(self, value: str, prediction: Prediction) -> float:
        return float(normalise_vqa(value) == normalise_vqa(right_answer(prediction)))

    def per_sample(self, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        rows = super().per_sample(predictions)
        for row, prediction in zip(rows, predictions, strict=True):
            answer = self.legacy(prediction.pred)
            row['legacy_correct'] = float(answer is not None and answer == self.legacy(prediction.target))
        return rows

    def reduce(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> Numbers:
        legacy = rate('legacy_accuracy', [row['legacy_correct'] for row in rows], predictions)
        return super().reduce(rows, predictions) | legacy

    def tables(self, predictions: Sequence[Prediction]) -> dict[str, list[TableRow]]:
        kinds = sorted({kind for prediction in predictions for kind in prediction.meta.get('types') or {}})
        return {
            f'by_{kind}': numbers_by(kind, functools.partial(type_of, kind), self.compute, predictions)
            for kind in kinds
        }


def type_of(kind: str, prediction: Prediction) -> str | None:
    """What a question is, of one kind of `meta['types']`."""
    return (prediction.meta.get('types') or {}).get(kind)
