"""One named evaluation: files in dataset order, written anew, with what was skipped beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import Dataset

from mllm.evaluation.evaluator import Evaluation, Evaluator
from mllm.metric.base import Metric
from mllm.metric.link_context import LinkContextAccuracy
from mllm.types import Prediction, Preprocessor, Skipped

Parts = tuple[Any, Preprocessor, Any]
ReadJsonl = Callable[[Path], list[Any]]


class WithGap(Dataset):
    """The same dataset with one sample that could not be made."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return Skipped(index, 'rows.jsonl:3: no such image') if index == 2 else self.inner[index]


class Broken(Metric[str]):
    def extract(self, prediction: Prediction) -> str | None:
        raise RuntimeError('a fault in the metric')

    def score(self, value: str, prediction: Prediction) -> float:
        return 0.0


def evaluator(preprocessor: Preprocessor, folder: Path, **kwargs: Any) -> Evaluator:
    return Evaluator(preprocessor, str(folder), gen_kwargs={'max_new_tokens': 3}, show_progress=False, **kwargs)


def test_files_and_metrics(parts: Parts, tmp_path: Path, read_jsonl: ReadJsonl):
    model, preprocessor, dataset = parts
    evaluation = Evaluation('multitest_two', dataset, LinkContextAccuracy())
    path = tmp_path / 'multitest_two_extra_prediction.jsonl'
    path.write_text('a row of an earlier run\n')
    metrics = evaluator(preprocessor, tmp_path, batch_size=4)(model, evaluation)
    rows = read_jsonl(path)
    assert [row['index'] for row in rows] == list(range(len(dataset)))
    assert list(rows[0])[:5] == ['index', 'pred', 'target', 'meta', 'score']
    assert {'extracted', 'parsed', 'correct', 'legacy_correct', 'likelihood_correct'} == set(list(rows[0])[5:])
    assert rows[0]['score'].keys() == set(rows[0]['meta']['candidates'])
    right = sum(row['likelihood_correct'] for row in rows)
    assert metrics['multitest_two_likelihood_accuracy'] == right / len(dataset)
    assert json.loads((tmp_path / 'multitest_two_results.json').read_text()) == metrics
    assert metrics['multitest_two_n'] == len(dataset)
    assert 0 <= metrics['multitest_two_likelihood_accuracy'] <= 1
    # Per token of the right answers, not per answer.
    counts = [len(dataset[index].answers[dataset[index].target]) for index in range(len(dataset))]
    total = -sum(row['score'][row['target']] * count for row, count in zip(rows, counts, strict=True))
    assert metrics['multitest_two_loss'] == pytest.approx(total / sum(counts), rel=1e-5)
    tables = json.loads((tmp_path / 'multitest_two_tables.json').read_text())
    assert sum(row['n'] for row in tables['by_class']) == sum(row['n'] for row in tables['by_pair']) == len(dataset)
    assert all(len(row['classes']) == 2 for row in tables['by_pair'])


@pytest.mark.parametrize(('batch_size', 'workers'), [(1, 0), (3, 2), (6, 1)])
def test_batch_size_and_workers_change_nothing(
    parts: Parts, tmp_path: Path, read_jsonl: ReadJsonl, batch_size: int, workers: int
):
    model, preprocessor, dataset = parts
    evaluation = Evaluation('test', dataset, None)
    for folder, settings in (('a', {'batch_size': 4}), ('b', {'batch_size': batch_size, 'num_workers': workers})):
        evaluator(preprocessor, tmp_path / folder, **settings)(model, evaluation)
    first, second = (read_jsonl(tmp_path / folder / 'test_extra_prediction.jsonl') for folder in 'ab')
    for one, other in zip(first, second, strict=True):
        assert one.pop('score') == pytest.approx(other.pop('score'), abs=1e-5)
        assert one == other


def test_skipped_samples_are_counted_and_listed(parts: Parts, tmp_path: Path, read_jsonl: ReadJsonl):
    model, preprocessor, dataset = parts
    metrics = evaluator(preprocessor, tmp_path)(model, Evaluation('test', WithGap(dataset), None))
    assert metrics['test_skipped'] == 1
    assert metrics['test_n'] == len(dataset) - 1
    (row,) = read_jsonl(tmp_path / 'test_skipped.jsonl')
    assert row == {'index': 2, 'reason': 'rows.jsonl:3: no such image'}


def test_a_fault_in_the_metric_loses_no_prediction(parts: Parts, tmp_path: Path, read_jsonl: ReadJsonl):
    model, preprocessor, dataset = parts
    with pytest.raises(RuntimeError, match='a fault in the metric'):
        evaluator(preprocessor, tmp_path)(model, Evaluation('test', dataset, Broken()))
    assert len(read_jsonl(tmp_path / 'test_extra_prediction.jsonl')) == len(dataset)


def test_without_a_metric_there_are_no_columns_and_no_tables(parts: Parts, tmp_path: Path, read_jsonl: ReadJsonl):
    model, preprocessor, dataset = parts
    for metric in (LinkContextAccuracy(), None):
        evaluator(preprocessor, tmp_path)(model, Evaluation('test', dataset, metric))
        row = read_jsonl(tmp_path / 'test_extra_prediction.jsonl')[0]
        assert ('correct' in row) == (tmp_path / 'test_tables.json').is_file() == (metric is not None)


def test_the_model_is_left_in_the_mode_it_was_in(parts: Parts, tmp_path: Path):
    model, preprocessor, dataset = parts
    model.train()
    modes: list[bool] = []
    model.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    evaluator(preprocessor, tmp_path)(model, Evaluation('test', dataset, None))
    assert model.training
    assert modes
    assert not any(modes)
