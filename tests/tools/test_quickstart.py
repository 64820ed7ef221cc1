"""What the quickstart shows of its runs; the runs themselves are CI's."""

import json
from pathlib import Path

from rich.console import Console

from tools import quickstart

FIGURES = {
    'accuracy': 0.9,
    'accuracy_ci_low': 0.87,
    'accuracy_ci_high': 0.92,
    'n': 600,
    'likelihood_accuracy': 0.91,
    'likelihood_accuracy_ci_low': 0.88,
    'likelihood_accuracy_ci_high': 0.93,
}


def test_result_files_become_a_summary_and_a_table(tmp_path: Path):
    for name in ('heldout_1', 'heldout_4', 'invented_real_name_1'):
        folder = tmp_path / 'lcl'
        folder.mkdir(exist_ok=True)
        prefixed = {f'multitest_{name}_{key}': value for key, value in FIGURES.items()}
        (folder / f'multitest_{name}_results.json').write_text(json.dumps(prefixed))
    summary = quickstart.summarise(tmp_path)
    assert set(summary) == {'lcl'}
    assert set(summary['lcl']) == {'heldout', 'invented_real_name'}
    assert summary['lcl']['heldout']['4']['ci_low'] == 0.87
    assert set(summary['lcl']['heldout']['1']) >= {'accuracy', 'ci_low', 'ci_high', 'n', 'likelihood_accuracy'}
    console = Console(record=True, width=140)
    quickstart.show({**summary, 'seconds': {'total': 1.0}, 'seed': 1, 'peak_memory_gb': 0.1}, console)
    text = console.export_text()
    assert 'unseen concepts, two invented names' in text
    assert '0.900 [0.87, 0.92] / 0.910' in text
    assert '4 shots' in text


def test_a_wrong_answer_is_drawn_as_one(small_world: Path):
    row = {
        'pred': 'there is "ab" in the image.',
        'target': 'there is "cd" in the image.',
        'meta': {'label': 'cd', 'image_path': 'ink/0.png', 'support': [{'image_path': 'oil/1.png', 'label': 'ab'}]},
    }
    found = quickstart.picture_row(row, 'title', small_world / 'images')
    assert found.query.caption == 'model: ab\nright: cd'
    assert found.query.colour == quickstart.WRONG
    assert [picture.caption for picture in found.support] == ['ab']
