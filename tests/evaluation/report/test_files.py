"""Files of an evaluation: written whole, again in place of old ones, and read back."""

import json
from pathlib import Path

import pytest

from mllm.evaluation.report.files import EvaluationFiles, read_results
from mllm.types import Prediction, Skipped

PREDICTIONS = [Prediction(0, 'a', 'b', {'label': 'b'}, {'b': -1.0}), Prediction(3, 'caf\u00e9', 'd')]


def test_columns_stand_behind_the_predictions_own_fields(tmp_path: Path, read_jsonl):
    files = EvaluationFiles(tmp_path / 'new' / 'folder', 'test')
    files.write_predictions(PREDICTIONS)
    plain = read_jsonl(files.path('extra_prediction.jsonl'))
    assert plain[0] == {'index': 0, 'pred': 'a', 'target': 'b', 'meta': {'label': 'b'}, 'score': {'b': -1.0}}
    files.write_predictions(
        PREDICTIONS,
        [{'index': 0, 'correct': 0.0, 'score': 'taken'}, {'index': 3, 'extracted': Path('of no JSON type')}],
    )
    assert read_jsonl(files.path('extra_prediction.jsonl')) == [
        {**plain[0], 'correct': 0.0},
        {**plain[1], 'extracted': 'of no JSON type'},
    ]


def test_nothing_to_say_leaves_no_file_of_an_earlier_run(tmp_path: Path):
    files = EvaluationFiles(tmp_path, 'test')
    files.write_tables({'by_class': [{'class': 'a', 'n': 1}]})
    files.write_skipped([Skipped(2, 'no image')])
    assert files.read_tables() == {'by_class': [{'class': 'a', 'n': 1}]}
    assert json.loads((tmp_path / 'test_skipped.jsonl').read_text()) == {'index': 2, 'reason': 'no image'}
    files.write_tables({'by_class': []})
    files.write_skipped([])
    assert list(tmp_path.iterdir()) == []
    assert files.read_tables() == {}


def test_other_ranks_write_nothing(tmp_path: Path):
    files = EvaluationFiles(tmp_path, 'test', writes=False)
    files.write_predictions(PREDICTIONS)
    files.write_results({'test_n': 2})
    assert list(tmp_path.iterdir()) == []


def test_results_of_a_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r'has no \*_results.json; give the output_dir'):
        read_results(tmp_path)
    for prefix in ('test', 'multitest_two'):
        EvaluationFiles(tmp_path, prefix).write_results({f'{prefix}_n': 2})
    assert read_results(tmp_path) == {'multitest_two': {'multitest_two_n': 2}, 'test': {'test_n': 2}}
