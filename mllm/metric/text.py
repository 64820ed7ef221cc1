"""Stage 11 of a sample's way for answers that are text: the whole normalised answer equals the target."""

from __future__ import annotations

from mllm.metric.base import Metric
from mllm.registry import METRICS
from mllm.types import Prediction

SURROUNDINGS = '."\' '
"""What may stand around an answer without changing it; inside an answer it counts ("St. Bernard")."""


def normalise_answer(text: str) -> str:
    """Lower case, single blanks, and without dots, quotes and blanks around it."""
    return ' '.join(text.lower().split()).strip(SURROUNDINGS)


@METRICS.register_module()
class ExactMatch(Metric[str]):
    """Whole normalised answer equals the normalised target. An empty answer is a parse failure."""

    def extract(self, prediction: Prediction) -> str | None:
        return normalise_answer(prediction.pred) or None

    def score(self, value: str, prediction: Prediction) -> float:
        return float(value == normalise_answer(prediction.target))
