"""Stage 12 of a sample's way, on disk: the files of one named evaluation, and reading them again.

    {prefix}_extra_prediction.jsonl   one row a sample: index, pred, target, meta, score, and the metric's own columns
    {prefix}_metric.json              the config of the metric, which scores the first file again
    {prefix}_results.json             the metrics, prefixed
    {prefix}_tables.json              {name of a grouping: rows}, where the metric groups its samples
    {prefix}_skipped.jsonl            index and reason of the samples that could not be made, where there are any

Tools read results from here too, so that no other place knows the names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mllm.metric.base import TableRow
from mllm.types import Prediction, Skipped
from mllm.utils.faults import stop_on
from mllm.utils.files import write_text_atomically
from mllm.utils.line_file import LineFile
from mllm.utils.log import get_logger

logger = get_logger(__name__)

PREDICTIONS, SKIPPED = 'extra_prediction.jsonl', 'skipped.jsonl'
METRIC, RESULTS, TABLES = 'metric.json', 'results.json', 'tables.json'
PREDICTION_FIELDS = {field.name for field in fields(Prediction)}


@dataclass(frozen=True)
class EvaluationFiles:
    """The files of the evaluation `prefix` in `folder`; each is written whole, in place of one of an earlier run.

    Without `writes` (on every rank but the first) nothing is written.
    """

    folder: Path
    prefix: str
    writes: bool = True

    def path(self, name: str) -> Path:
        return self.folder / f'{self.prefix}_{name}'

    def write_predictions(
        self, predictions: Sequence[Prediction], columns: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """One row a prediction, with the metric's `columns` for each behind its own fields, once there are any."""
        rows: list[dict[str, Any]] = []
        for prediction, more in zip(predictions, columns or [{}] * len(predictions), strict=True):
            own = {name: value for name, value in more.items() if name not in PREDICTION_FIELDS}
            rows.append({**asdict(prediction), **own})
        self.write(PREDICTIONS, json_lines(rows))

    def write_skipped(self, skipped: Sequence[Skipped]) -> None:
        self.write(SKIPPED, json_lines(map(asdict, skipped)) or None)
        if skipped and self.writes:
            logger.warning('%s: %d samples skipped, listed in %s', self.prefix, len(skipped), self.path(SKIPPED))

    def write_metric(self, cfg: Mapping[str, Any] | None) -> None:
        self.write(METRIC, json.dumps(cfg) + '\n' if cfg else None)

    def write_results(self, metrics: Mapping[str, Any]) -> None:
        self.write(RESULTS, json.dumps(metrics, indent=2) + '\n')

    def write_tables(self, tables: Mapping[str, Sequence[TableRow]]) -> None:
        self.write(TABLES, json.dumps(tables, ensure_ascii=False, indent=1) + '\n' if any(tables.values()) else None)

    def write(self, name: str, text: str | None) -> None:
        """None leaves no such file, not even one of an earlier run."""
        if not self.writes:
            return
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink(missing_ok=True)
        else:
            write_text_atomically(path, text)

    def read_predictions(self) -> list[Prediction]:
        """What `write_predictions` wrote, without the metric's columns; ValueError with file and line otherwise."""
        return read_predictions(self.path(PREDICTIONS))

    def read_metric(self) -> dict[str, Any] | None:
        """What `write_metric` wrote; None if it wrote nothing."""
        path = self.path(METRIC)
        return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None

    def read_results(self) -> dict[str, Any]:
        """The metrics without their prefix; empty if none were written."""
        path = self.path(RESULTS)
        found = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
        return {key.removeprefix(f'{self.prefix}_'): value for key, value in found.items()}

    def read_tables(self) -> dict[str, list[TableRow]]:
        """What `write_tables` wrote; empty if it wrote nothing."""
        path = self.path(TABLES)
        return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file; FileNotFoundError, or ValueError with every line that is none."""
    rows, faults = LineFile(str(path)), []
    predictions = []
    for index in range(len(rows)):
        try:
            row = rows[index]
            given = {name: row[name] for name in PREDICTION_FIELDS if name in row}
            predictions.append(Prediction(**given))
        except ValueError as error:
            faults.append(str(error))
        except TypeError:
            faults.append(f'{rows.where(index)}: needs index, pred and target, and has {", ".join(row)}')
    stop_on(faults)
    return predictions


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """The metrics of every evaluation in a folder, by prefix; FileNotFoundError if there is none."""
    results = {
        path.name.removesuffix(f'_{RESULTS}'): json.loads(path.read_text(encoding='utf-8'))
        for path in sorted(folder.glob(f'*_{RESULTS}'))
    }
    if not results:
        raise FileNotFoundError(f'{folder} has no *_{RESULTS}; give the output_dir of a run that evaluated something')
    return results


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """A line a row; a value that JSON does not know (what a metric extracted may be anything) as its text."""
    return ''.join(json.dumps(row, ensure_ascii=False, default=str) + '\n' for row in rows)
