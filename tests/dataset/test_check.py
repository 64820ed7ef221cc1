"""A whole check: numbers of each dataset, every fault once, whatever the number of workers."""

import json

import pytest

from mllm.dataset.builder import select_entries
from mllm.dataset.check import DataCheck

POLICY = {'type': 'link_context', 'names': 'invented', 'word_length': (4, 4), 'negatives': 'easy'}


@pytest.fixture
def world(small_world, tmp_path):
    """A copy of the small world that a test may break."""
    for path in small_world.rglob('*.*'):
        copy = tmp_path / path.relative_to(small_world)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path


def episodes(world, **changes):
    files = {'filename': str(world / 'pairs.jsonl'), 'image_folder': str(world / 'images')}
    return {'type': 'LinkContextDataset', **files, 'shot': 1, 'policy': POLICY, **changes}


def check(preprocessor, workers=0, **data_args):
    made = DataCheck(select_entries(data_args), data_args, preprocessor, seed=0)
    counts = list(made.run(workers))
    assert sum(count for _, count in counts) == len(made)
    rows, faults = made.report()
    return {row['dataset']: row for row in rows}, faults, made


def lines(faults):
    return [(fault.file.rpartition('/')[2], fault.line, fault.text) for fault in faults]


def test_sound_data(world, preprocessor):
    one, two = episodes(world), episodes(world, shot=2, episodes_per_class=3)
    rows, faults, made = check(preprocessor, train=one, multitest={'two': {'cfg': two}})
    assert len(faults) == 0
    assert len(made.files.numbers) == 36
    assert len(made) == 36 + 6 + 18
    row = rows['two']
    assert (row['samples'], row['images'], row['most_shots'], row['faults']) == (18, 36, 5, 0)
    assert (row['width'], row['height'], row['images_per_sample']) == ([24, 24], [20, 20], [5, 5])
    assert row['tokens']['min'] <= row['tokens']['median'] <= row['tokens']['p95'] <= row['tokens']['max']
    assert rows['train']['tokens']['max'] < row['tokens']['min'] <= row['limit'] == 4096


def test_lengths_are_those_of_the_samples_a_run_draws(world, preprocessor):
    rows, _, made = check(preprocessor, train=episodes(world, shot={'type': 'uniform', 'low': 1, 'high': 4}))
    dataset = made.rows[0].dataset
    assert dataset is not None
    lengths = sorted(len(dataset[(0, index)].input_ids) for index in range(6))
    tokens = rows['train']['tokens']
    assert (tokens['min'], tokens['max'], tokens['p95']) == (lengths[0], lengths[-1], lengths[-1])
    assert tokens['median'] in lengths[2:4]


def test_what_does_not_fit_is_counted(world, make_preprocessor):
    data = episodes(world, shot=2)
    whole, _, _ = check(make_preprocessor(), train=data)
    rows, faults, _ = check(make_preprocessor(max_length=whole['train']['tokens']['min'] - 1), train=data)
    assert len(faults) == 0
    assert (rows['train']['truncated_samples'], rows['train']['dropped_supports']) == (6, 6)
    assert rows['train']['images_per_sample'] == [4, 4]


def test_a_broken_image_is_one_fault_at_every_line_that_names_it(world, preprocessor):
    (world / 'images' / 'ink' / '2.png').write_bytes(b'no image')
    (world / 'images' / 'oil' / '3.png').unlink()
    pairs = (world / 'pairs.jsonl').read_text()
    (world / 'again.jsonl').write_text(pairs)
    rows, faults, made = check(
        preprocessor,
        train=episodes(world, episodes_per_class=5),
        test=episodes(world, filename=str(world / 'again.jsonl')),
        validation=episodes(world, policy={**POLICY, 'ways': 6}),
    )
    assert [(file, line) for file, line, _ in lines(faults)] == [
        ('again.jsonl', 3), ('again.jsonl', 4), ('pairs.jsonl', 3), ('pairs.jsonl', 4),
    ]  # fmt: skip
    damaged, missing = faults.groups()
    assert 'ink/2.png: not an image' in damaged.text
    assert 'oil/3.png: no such image' in missing.text
    assert damaged.datasets == ['test', 'train', 'validation']
    failed = {name: row['failed_samples'] for name, row in rows.items()}
    assert failed['validation'] > 0
    assert damaged.samples + missing.samples == sum(failed.values())
    assert {row['faults'] for row in rows.values()} == {2}
    assert made.rows[0].files == list(range(36))


def test_a_missing_folder_is_one_group(world, preprocessor):
    rows, faults, _ = check(preprocessor, train=episodes(world, image_folder=str(world / 'gone')))
    (group,) = faults.groups()
    assert group.text == f'image_folder {world}/gone does not exist'
    assert group.places == [f'{world}/pairs.jsonl:1-6']
    assert group.samples == rows['train']['failed_samples'] == 6
    assert rows['train']['width'] is None
    assert rows['train']['tokens'] is None


def test_one_dataset_that_cannot_be_opened_does_not_hide_another(world, preprocessor):
    text = (world / 'pairs.jsonl').read_text()
    (world / 'bad.jsonl').write_text('{"class_id":\n' + text)
    (world / 'images' / 'clay' / '5.png').unlink()
    rows, faults, _ = check(
        preprocessor,
        train=episodes(world, filename=str(world / 'bad.jsonl')),
        test=episodes(world, shot=0),
        multitest={'few': {'cfg': episodes(world, shot=6)}},
    )
    assert rows['train']['samples'] == rows['test']['samples'] == 0
    found = lines(faults)
    assert found[0] == ('', 0, 'shot=0: expected at least 1 support per class')
    assert found[1][:2] == ('bad.jsonl', 1)
    assert [line for file, line, text in found if file == 'pairs.jsonl' and 'too few images' in text] == [*range(1, 7)]
    # The image is missing in sound lines of the file that cannot be used as well.
    assert [(file, line) for file, line, text in found if 'clay/5.png' in text] == [
        ('bad.jsonl', 7), ('pairs.jsonl', 6),
    ]  # fmt: skip


def test_samples_name_the_line_and_the_reason(world, preprocessor):
    policy = {**POLICY, 'names': 'real', 'negatives': 'hard'}
    text = (world / 'pairs.jsonl').read_text()
    rows = [{key: value for key, value in json.loads(line).items() if key != 'neighbors'} for line in text.splitlines()]
    (world / 'pairs.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    found, faults, _ = check(preprocessor, train=episodes(world, policy=policy))
    (group,) = faults.groups()
    assert group.places == [f'{world}/pairs.jsonl:1-6']
    assert "set negatives='easy'" in group.text
    assert found['train']['failed_samples'] == 6


def test_the_number_of_workers_changes_nothing(world, preprocessor):
    (world / 'images' / 'ink' / '2.png').write_bytes(b'no image')
    data = {'train': episodes(world, episodes_per_class=9), 'test': episodes(world, shot=6)}
    alone, faults, _ = check(preprocessor, **data)
    rows, many, _ = check(preprocessor, workers=2, **data)
    assert rows == alone
    assert list(many) == list(faults)
    assert len(faults) > 6


def test_a_check_that_was_stopped_reports_what_it_has(world, preprocessor):
    (world / 'images' / 'ink' / '0.png').write_bytes(b'no image')
    data_args = {'train': episodes(world, episodes_per_class=20)}
    made = DataCheck(select_entries(data_args), data_args, preprocessor, seed=0)
    assert next(made.run()) == ('images', 16)
    (row,), faults = made.report()
    assert (row['samples'], row['images'], row['tokens'], row['faults']) == (120, 36, None, 1)
    assert len(faults) == 1
