"""Datasets of a config by the names that users give them, and their faults."""

import pytest

from mllm.dataset.builder import checked_sources, prepare_data, select_entries
from mllm.utils.faults import FaultsError

SET = {'type': 'LinkContextDataset', 'filename': 'gone.jsonl', 'shot': 1, 'policy': 'link_context'}
DATA = {
    'train': SET,
    'validation': SET,
    'test': None,
    'multitest': {'far': {'cfg': SET}, 'train': {'cfg': SET, 'compute_metric': {'type': 'X'}}},
}


def test_all_datasets_in_order():
    named = select_entries(DATA)
    assert list(named) == ['train', 'validation', 'far', 'multitest_train']
    assert [entry.prefix for entry in named.values()] == ['train', 'eval', 'multitest_far', 'multitest_train']
    assert named['multitest_train'].compute_metric == {'type': 'X'}


def test_some_datasets():
    assert list(select_entries(DATA, ['far', 'train'])) == ['far', 'train']


def test_names_that_there_are_not():
    with pytest.raises(ValueError, match='--split test fra: this config has train, validation, far, multitest_train'):
        select_entries(DATA, ['far', 'test', 'fra'])
    with pytest.raises(ValueError, match='this config has no dataset'):
        select_entries({'train': None})


def test_all_faults_come_at_once():
    with pytest.raises(ValueError) as error:
        checked_sources(select_entries(DATA).values())
    keys = ['train', 'validation', 'multitest.far.cfg', 'multitest.train.cfg']
    assert str(error.value).splitlines() == [f'data_args.{key}: gone.jsonl: no such annotation file' for key in keys]


def test_only_training_draws_by_the_runs_seed(small_world, preprocessor):
    data = {**SET, 'filename': str(small_world / 'pairs.jsonl'), 'image_folder': str(small_world / 'images')}
    data_args = {'train': data, 'test': data, 'on_bad_sample': 'skip'}
    made = prepare_data(data_args, preprocessor, 7, ['train', 'test'])
    assert {name: (item.training, item.seed) for name, item in made.items()} == {'train': (True, 7), 'test': (False, 0)}
    assert made['train'].on_bad_sample == 'skip'


@pytest.fixture
def episodes(small_world):
    files = {'filename': str(small_world / 'pairs.jsonl'), 'image_folder': str(small_world / 'images')}
    return {'type': 'LinkContextDataset', **files, 'shot': 1, 'policy': {'type': 'link_context', 'negatives': 'easy'}}


@pytest.mark.parametrize('part', ['train', 'validation'])
def test_a_sample_of_every_dataset_in_a_mixture_is_tried(preprocessor, episodes, part):
    wrong = {**episodes, 'policy': {**episodes['policy'], 'query_questions': ['What is it?']}}
    data_args = {part: {'type': 'ConcatDataset', 'cfgs': [episodes, wrong]}}
    with pytest.raises(FaultsError) as caught:
        prepare_data(data_args, preprocessor, 0, [part])
    (fault,) = caught.value.faults
    assert fault.startswith(f'data_args.{part}: {episodes["filename"]}:1 (sample 6): ')
    assert '0 <image> placeholders' in fault


def test_a_model_too_short_for_any_sample(make_preprocessor, episodes):
    with pytest.raises(FaultsError, match=r'data_args\.train: .*more than the 5 of model_max_length'):
        prepare_data({'train': episodes}, make_preprocessor(5), 0, ['train'])


def test_a_wrong_argument_hides_no_fault_of_the_file(episodes, tmp_path):
    (tmp_path / 'pairs.jsonl').write_text('{"class_id": 1}')
    cfg = {**episodes, 'template_string': 'What?', 'shot': 0, 'control': 'x', 'episodes_per_class': 0}
    for name, told in (('gone.jsonl', 'no such annotation file'), ('pairs.jsonl', "1: no 'class_name'")):
        with pytest.raises(FaultsError) as caught:
            checked_sources(select_entries({'train': {**cfg, 'filename': str(tmp_path / name)}}).values())
        found = caught.value.faults
        expected = ['shot=0', "'What?' has <image> 0 times", told, "control='x'", 'episodes_per_class=0']
        assert len(found) == len(expected)
        assert all(line.startswith('data_args.train: ') and text in line for line, text in zip(found, expected))
