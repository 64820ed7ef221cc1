"""Datasets of a config by the names that users give them, and their faults."""

import pytest

from mllm.dataset.builder import checked_sources, prepare_data, select_entries

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
