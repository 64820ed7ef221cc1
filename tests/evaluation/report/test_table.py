"""Tables for the terminal, as a reader sees them."""

import io

from rich.console import Console
from rich.table import Table

from mllm.evaluation.report.table import group_table, results_table


def lines(table: Table) -> list[list[str]]:
    """The cells of each line that has any, stripped."""
    out = io.StringIO()
    Console(width=200, file=out).print(table)
    rows = [line.replace('\u2503', '\u2502').split('\u2502') for line in out.getvalue().splitlines()]
    return [[cell.strip() for cell in row[1:-1]] for row in rows if len(row) > 2]


def test_results_have_a_row_per_evaluation_and_their_interval():
    results = {
        'test': {'test_n': 8, 'test_accuracy': 0.5, 'test_accuracy_ci_low': 0.25, 'test_accuracy_ci_high': 0.75},
        'eval': {'eval_n': 2, 'eval_loss': 1.5, 'eval_runtime': 3.0},
    }
    assert lines(results_table(results)) == [
        ['evaluation', 'n', 'accuracy', 'loss'],
        ['test', '8', '0.500 [0.250, 0.750]', '-'],
        ['eval', '2', '-', '1.500'],
    ]


def test_groups_are_shown_up_to_a_limit_and_names_are_no_markup():
    rows = [
        {'classes': ['[red]cat', 'dog'], 'n': 3, 'accuracy': 0.0, 'parse_failures': 2},
        {'classes': ['ant', 'dog'], 'n': 1, 'accuracy': 1.0, 'parse_failures': 0},
    ]
    table = group_table('test: by pair', rows, 1)
    assert lines(table) == [
        ['classes', 'n', 'accuracy', 'parse failures'],
        ['[red]cat / dog', '3', '0.000', '2'],
    ]
    assert table.title == 'test: by pair (worst 1 of 2)'
    assert len(lines(group_table('x', rows, 10))) == 3
    assert group_table('x', [], 10).row_count == 0
