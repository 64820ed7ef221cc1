"""Stages 10 to 12 for one named evaluation: dataset -> predictions in dataset order -> metrics -> files.

Every rank answers its share of the dataset; rank 0 gathers, orders and writes (`report/files.py`). Predictions are
written before the metric sees them, and again with its columns, so that a fault there loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import GenerationMixin

from mllm.evaluation.report.files import EvaluationFiles
from mllm.evaluation.scoring import AnswerLikelihood, Scorer
from mllm.metric.base import Metric
from mllm.types import Prediction, Preprocessor, Sample, Skipped
from mllm.utils.loading import Caught, raise_caught
from mllm.utils.log import progress_bar


@dataclass(frozen=True)
class Evaluation:
    """One named evaluation: `prefix` names its files and metrics ('eval', 'test', 'multitest_{name}').

    `metric_cfg` builds `metric` again, to score the predictions anew.
    """

    prefix: str
    dataset: Dataset[Any]
    metric: Metric | None
    metric_cfg: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Evaluator:
    """Runs evaluations with the same settings. Sizes are per process."""

    preprocessor: Preprocessor
    output_dir: str
    batch_size: int = 8
    num_workers: int = 0
    gen_kwargs: Mapping[str, Any] | None = None
    show_progress: bool = True

    def __call__(self, model: GenerationMixin, evaluation: Evaluation) -> dict[str, float]:
        """Answer the whole dataset, write the files, return the prefixed metrics (the same on every rank)."""
        started = time.perf_counter()
        rows = gather_object(self.answer_share(model, evaluation))
        rows.sort(key=lambda row: row[0])
        predictions = [prediction for _, prediction, _ in rows if isinstance(prediction, Prediction)]
        skipped = [prediction for _, prediction, _ in rows if isinstance(prediction, Skipped)]
        files = EvaluationFiles(Path(self.output_dir), evaluation.prefix, PartialState().is_main_process)
        files.write_predictions(predictions)
        files.write_skipped(skipped)
        files.write_metric(evaluation.metric_cfg)
        results = {'loss': mean_loss([likelihood for *_, likelihood in rows if likelihood]), 'n': len(predictions)}
        # Every rank asks the metric, so that a fault in it ends all of them alike.
        if evaluation.metric:
            scored = evaluation.metric.per_sample(predictions)
            files.write_predictions(predictions, scored)
            results |= evaluation.metric.reduce(scored, predictions)
        results['skipped'] = len(skipped)
        seconds = time.perf_counter() - started
        results |= {'runtime': round(seconds, 3), 'samples_per_second': round(len(rows) / seconds, 3)}
        metrics = {f'{evaluation.prefix}_{key}': value for key, value in results.items()}
        files.write_results(metrics)
        files.write_tables(evaluation.metric.tables(predictions) if evaluation.metric else {})
        return metrics

    def answer_share(
        self, model: GenerationMixin, evaluation: Evaluation
    ) -> list[tuple[int, Prediction | Skipped, AnswerLikelihood | None]]:
        """This rank's share: every world-size-th sample, so that all shares are about equally hard."""
        state = PartialState()
        indices = range(state.process_index, len(evaluation.dataset), state.num_processes)  # type: ignore[arg-type]
        loader = DataLoader(
            Subset(Caught(evaluation.dataset), indices),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=list,
        )
        scorer = Scorer(model, self.preprocessor, self.gen_kwargs or {})
        rows: list[tuple[int, Prediction | Skipped, AnswerLikelihood | None]] = []
        training = model.training  # type: ignore[attr-defined]
        model.eval()  # type: ignore[attr-defined]
        with progress_bar(self.show_progress and state.is_main_process) as progress:
            task = progress.add_task(evaluation.prefix, total=len(indices))
            for items in loader:
                raise_caught(items)
                samples = [item for item in items if isinstance(item, Sample)]
                rows += [(item.index, item, None) for item in items if isinstance(item, Skipped)]
                if samples:
                    for prediction, likelihood in zip(*scorer.predict(samples), strict=True):
                        rows.append((prediction.index, prediction, likelihood))
                progress.advance(task, len(items))
        model.train(training)  # type: ignore[attr-defined]
        return rows


def mean_loss(likelihoods: Sequence[AnswerLikelihood]) -> float:
    """Loss per token of the right answers, in nats; NaN without any."""
    tokens = sum(likelihood.tokens for likelihood in likelihoods)
    return -sum(likelihood.total for likelihood in likelihoods) / tokens if tokens else float('nan')
