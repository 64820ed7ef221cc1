"""The tool that shows what a run's evaluations found."""

from pathlib import Path

import pytest

from mllm.evaluation.report.files import EvaluationFiles
from tools.show_results import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for prefix in ('eval', 'test'):
        files = EvaluationFiles(tmp_path, prefix)
        files.write_results({f'{prefix}_n': 40, f'{prefix}_accuracy': 0.5})
        files.write_tables({'by_class': [{'class': f'{prefix} class {n}', 'n': 1, 'accuracy': 0.0} for n in range(40)]})
    return tmp_path


def test_all_results_and_the_worst_groups_of_those_named(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert 'eval' in out
    assert 'test' in out
    assert 'class' not in out
    assert main([str(folder), 'test', '--rows', '3']) == 0
    out = capsys.readouterr().out
    assert 'test: by class (worst 3 of 40)' in out
    assert out.count('test class') == 3
    assert 'eval class' not in out


@pytest.mark.parametrize(
    ('argv', 'expected'), [(['tset'], "no evaluation 'tset'; did you mean 'test'?"), (['..'], "no evaluation '..'")]
)
def test_names_that_are_not_there(folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], expected: str):
    assert main([str(folder), *argv]) == 2
    assert expected in capsys.readouterr().err


def test_a_folder_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path)]) == 2
    assert 'give the output_dir of a run' in capsys.readouterr().err
