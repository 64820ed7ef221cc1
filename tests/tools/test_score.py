"""Saved predictions score as they did; two runs are compared sample by sample."""

import json
from pathlib import Path
from typing import Any

import pytest

from mllm.evaluation.report.files import EvaluationFiles
from mllm.metric.builder import build_metric
from mllm.types import Prediction
from tools.score import main

REC = {'type': 'RECComputeMetrics', 'formatter': {'type': 'PlainBoxFormatter', 'use_small_brackets': True}}


def save(folder: Path, answers: list[str], cfg: dict[str, Any] | None, targets: list[str] | None = None) -> Path:
    """A saved evaluation whose right answers are yes, unless given."""
    targets = targets or ['yes'] * len(answers)
    predictions = [Prediction(n, answer, target) for n, (answer, target) in enumerate(zip(answers, targets))]
    files = EvaluationFiles(folder, 'test')
    metric = build_metric(cfg or {'type': 'ExactMatch'})
    files.write_predictions(predictions, metric.per_sample(predictions))
    files.write_metric(cfg)
    files.write_results(
        {f'test_{key}': value for key, value in metric.compute(predictions).items()} | {'test_loss': 0.1}
    )
    return folder / 'test_extra_prediction.jsonl'


def test_the_same_numbers_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = save(tmp_path, ['yes', 'Yes.', 'no', ''], {'type': 'ExactMatch'})
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    assert '0.500 [0.150, 0.850]' in out
    assert 'parse failures' in out


def test_the_box_format_of_the_run_is_saved_with_it(tmp_path: Path):
    path = save(tmp_path, ['(0.1,0.1,0.5,0.5)', '(0.9,0.9,1.0,1.0)'], REC, ['(0.1,0.1,0.5,0.5)'] * 2)
    assert main([str(path)]) == 0
    results = json.loads((tmp_path / 'test_results.json').read_text())
    assert results['test_accuracy'] == 0.5
    assert main([str(path), '--metric', 'RECComputeMetrics']) == 0  # another format: it parses nothing


def test_numbers_that_changed_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = save(tmp_path, ['yes', 'no'], {'type': 'ExactMatch'})
    text = (tmp_path / 'test_results.json').read_text().replace('"test_accuracy": 0.5', '"test_accuracy": 0.9')
    (tmp_path / 'test_results.json').write_text(text)
    assert main([str(path)]) == 1
    assert 'accuracy: saved 0.9, now 0.5' in capsys.readouterr().err


def test_two_runs_are_compared_sample_by_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').mkdir()
    first = save(tmp_path / 'a', ['yes'] * 18 + ['no'] * 2, {'type': 'ExactMatch'})
    second = save(tmp_path / 'b', ['yes'] * 8 + ['no'] * 10 + ['yes'] + ['no'], {'type': 'ExactMatch'})
    assert main([str(first), '--against', str(second)]) == 0
    out = capsys.readouterr().out
    assert '+0.4500' in out
    # 10 samples better, 1 worse: 2 * (1 + 11) / 2 ** 11 of all exchanges are as far from 0.
    assert '0.0117' in out
    assert main([str(first), '--against', str(first)]) == 0
    assert '1.0000' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['{a}', '--metric', 'ExactMtch'], "did you mean 'ExactMatch'"),
        (['{a}', '--metric', '{{"type": '], 'not JSON'),
        (['{a}', '--against', '{short}'], '1 stand in one alone, such as 1'),
        (['{a}', '--against', '{other}'], "sample 0: 'yes' and 'no'"),
        (['{bare}'], 'name the one of its task with --metric'),
        (['{broken}', '--metric', 'ExactMatch'], 'broken.jsonl:2'),
        (['{gone}', '--metric', 'ExactMatch'], 'no such annotation file'),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str):
    for name in ('a', 'short', 'other', 'bare'):
        (tmp_path / name).mkdir()
    (tmp_path / 'broken.jsonl').write_text('{"index": 0, "pred": "a", "target": "b"}\n{"index": 1, "pred": "a"}\n')
    paths = {
        'a': save(tmp_path / 'a', ['yes', 'no'], {'type': 'ExactMatch'}),
        'short': save(tmp_path / 'short', ['yes'], {'type': 'ExactMatch'}),
        'other': save(tmp_path / 'other', ['yes', 'no'], {'type': 'ExactMatch'}, ['no', 'yes']),
        'bare': save(tmp_path / 'bare', ['yes', 'no'], None),
        'broken': tmp_path / 'broken.jsonl',
        'gone': tmp_path / 'gone.jsonl',
    }
    assert main([argument.format(**paths) for argument in argv]) == 2
    assert message in capsys.readouterr().err
