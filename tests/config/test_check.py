"""Every fault of a config, with key path and nearest name."""

import copy
from typing import Any

import pytest
from mmengine import Config

from mllm.config.check import ConfigError, check_config


def episodes(**changes: Any) -> dict[str, Any]:
    return {'type': 'Episodes', 'filename': 'a.jsonl', 'policy': {'type': 'two_way'}, 'shot': 1, **changes}


GOOD: dict[str, Any] = {
    'model_args': {
        'type': 'tiny',
        'path': 'weights',
        'image_splice': 'last_only',
        'conv_args': {'conv_template': 'plain'},
        'target_processor': {'boxes': {'type': 'Decimals', 'precision': 2}},
    },
    'data_args': {
        'train': {
            'type': 'Mixture',
            'cfgs': [episodes(), {'type': 'Part', 'cfg': episodes(), 'portion': 1, 'size': (2, 3)}],
            'probabilities': [0.5, 1],
        },
        'validation': None,
        'test': episodes(shot={'type': 'uniform', 'low': 1, 'high': 2}, image_folder=None),
        'multitest': {'one': {'cfg': episodes(), 'compute_metric': {'type': 'Exact'}}, 'two': {'cfg': episodes()}},
        'compute_metric': {'type': 'Exact'},
        'gen_kwargs': {'max_new_tokens': 8, 'num_beams': 1},
        'augment': {'type': 'Turned', 'degrees': 3},
        'on_bad_sample': 'skip',
    },
    'training_args': {
        'output_dir': 'exp',
        'learning_rate': 1,
        'warmup_steps': 0.03,
        'lr_scheduler_type': 'cosine_with_min_lr', 'lr_scheduler_kwargs': {'min_lr_rate': 0.1},
        'report_to': ['tensorboard'],
        'fsdp': True,
        'tf32': None,
        'do_multi_predict': True,
    },
}


def faults_with(changes: dict[str, Any], remove: tuple[str, ...] = ()) -> list[str]:
    """Faults of the good config after setting (or removing) some 'a.b.0' keys."""
    cfg = copy.deepcopy(GOOD)
    for path, value in [*changes.items(), *((path, None) for path in remove)]:
        *parents, last = path.split('.')
        node: Any = cfg
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node[part]
        if path in remove:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value
    return check_config(cfg)


def test_a_good_config_has_no_faults():
    assert check_config(GOOD) == []
    assert check_config(Config(copy.deepcopy(GOOD))) == []


@pytest.mark.parametrize(
    ('path', 'value', 'expected'),
    [
        ('data_argz', {}, "data_argz: unknown section; did you mean 'data_args'"),
        ('epochs', 3, 'epochs: unknown section; there are: custom_imports, data_args, '),
        ('data_args.tarin', {}, "data_args.tarin: unknown key; did you mean 'train'?"),
        ('data_args.on_bad_sample', 'skpi', "expected 'raise' or 'skip', got 'skpi'; did you mean 'skip'?"),
        ('data_args.train', 'rec', "data_args.train: expected dict or None, got 'rec'"),
        ('data_args.train.type', 'Mixtrue', "data_args.train.type: there is no 'Mixtrue' in DATASETS; did you mean"),
        ('data_args.train.stopping', 'frist', "expected 'first' or 'all', got 'frist'; did you mean 'first'?"),
        ('data_args.train.strict', 1, 'data_args.train.strict: expected bool, got 1'),
        ('data_args.train.probabilities', ['x'], "expected list of float or None, got ['x']"),
        ('data_args.train.cfgs.0.polciy', {}, "data_args.train.cfgs.0.polciy: Episodes has no argument 'polciy'; did"),
        ('data_args.train.cfgs.0.shot', 'abc', "data_args.train.cfgs.0.shot: expected int or dict, got 'abc'"),
        ('data_args.train.cfgs.0.shot', True, 'data_args.train.cfgs.0.shot: expected int or dict, got True'),
        ('data_args.train.cfgs.0.policy', {'type': 'tow_way'}, "policy.type: there is no 'tow_way' in POLICIES; did"),
        ('data_args.train.cfgs.0.policy', 'tow_way', "policy: there is no 'tow_way' in POLICIES; did you mean 'two_way'"),
        ('data_args.train.cfgs.0.policy', {'tpye': 'two_way'}, "needs 'type'; did you write it 'tpye'?"),
        ('data_args.train.cfgs.0.policy.rng', 3, "two_way has no argument 'rng'; there are: names, negatives, words"),
        ('data_args.train.cfgs.0.policy.shot', 3, "two_way has no argument 'shot'"),
        ('data_args.train.cfgs.1.cfg.filename', 3, 'data_args.train.cfgs.1.cfg.filename: expected str, got 3'),
        ('data_args.train.cfgs.1.size', [1, 2, 3], 'data_args.train.cfgs.1.size: expected list of int or None, got'),
        ('data_args.multitest.one.cgf', {}, "data_args.multitest.one.cgf: unknown key; did you mean 'cfg'?"),
        ('data_args.multitest.two', 'x', "data_args.multitest.two: expected dict(cfg=dict(type='...')"),
        ('data_args.multitest.one.compute_metric.type', 'Exakt', 'data_args.multitest.one.compute_metric.type: there'),
        ('data_args.compute_metric.type', 'exact', "there is no 'exact' in METRICS; did you mean 'Exact'?"),
        ('data_args.augment.degree', 3, "data_args.augment.degree: Turned has no argument 'degree'; did you mean"),
        ('data_args.gen_kwargs.max_new_token', 3, "gen_kwargs.max_new_token: unknown key; did you mean 'max_new_"),
        ('model_args.type', 'tinny', "model_args.type: there is no 'tinny' in MODELS; did you mean 'tiny'?"),
        ('model_args.image_splice', 'last', "expected 'all' or 'last_only', got 'last'; did you mean 'last_only'?"),
        ('model_args.pathh', 'x', "model_args.pathh: tiny has no argument 'pathh'; did you mean 'path'?"),
        ('model_args.conv_args.conv_template', 'plian', "there is no 'plian' in TEMPLATES; did you mean 'plain'?"),
        ('model_args.target_processor.boxes.type', 'Decimal', "boxes.type: there is no 'Decimal' in FORMATTERS; did"),
        ('model_args.path', pytest, 'a config holds plain values'),
        ('training_args.learnig_rate', 1, "training_args.learnig_rate: unknown key; did you mean 'learning_rate'?"),
        ('training_args.learning_rate', '1e-3', "training_args.learning_rate: expected float, got '1e-3'"),
        ('training_args.save_strategy', 'stesp', "got 'stesp'; did you mean 'steps'?"),
        ('data_args.shot', 2, 'data_args.shot: unknown key; episodes are a dataset\'s own; set shot=N in the dataset: '),
        ('model_args.cache_dir', 'x', "model_args.cache_dir: tiny has no argument 'cache_dir'; set the environment"),
        ('training_args', [], 'training_args: expected a dict, got []'),
        ('model_args', None, "model_args: expected dict(type='...'), got None"),
        ('data_args', 3, 'data_args: expected a dict, got 3'),
        ('custom_imports', 'x', 'custom_imports: expected dict(imports='),
        ('data_args.train.cfgs.0.shot', {'typ': 'uniform'}, "shot.typ: unknown key; did you mean 'type'?"),
        ('data_args.train.cfgs.0.shot', {'type': 'weighted', 'low': 'x'}, "shot.low: expected int, got 'x'"),
        ('data_args.train.cfgs.0.policy.names', {'invnted': 1.0}, "names.invnted: unknown key; did you mean 'invented'"),
        ('data_args.gen_kwargs.max_new_tokens', 'abc', "max_new_tokens: expected a number, got 'abc'"),
        ('data_args.collator_kwargs', {}, 'collator_kwargs: unknown key; batches are padded to their longest sample'),
        ('training_args.per_device_train_batch_size', 0, 'per_device_train_batch_size: expected at least 1, got 0'),
        ('training_args.report_to', 'tensorbord', "report_to: there is no 'tensorbord'; did you mean 'tensorboard'?"),
        ('training_args.accelerator_config', '{"a"', 'training_args.accelerator_config: not JSON'),
        (
            'training_args.lr_scheduler_kwargs',
            {'min_lr_rat': 1},
            "lr_scheduler_kwargs.min_lr_rat: 'cosine_with_min_lr' has no such argument; did",
        ),
        ('model_args.path', 'nowhere', 'model_args.path: there is no folder'),
    ],
)
def test_a_fault_names_its_key_and_the_nearest_name(path: str, value: Any, expected: str):
    faults = faults_with({path: value})
    assert any(expected in fault for fault in faults), faults
    assert all(fault.startswith(path.split('.')[0]) for fault in faults)


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('model_args', 'model_args: this section is missing'),
        ('data_args', 'data_args: this section is missing'),
        ('model_args.path', "model_args: tiny needs 'path'"),
        ('data_args.test.filename', "data_args.test: Episodes needs 'filename'"),
        ('data_args.test.type', "data_args.test: needs 'type'"),
        ('data_args.train.cfgs.1.portion', "data_args.train.cfgs.1: Part needs 'portion'"),
        ('data_args.multitest.one.cfg', "data_args.multitest.one: an entry needs 'cfg'"),
    ],
)
def test_what_is_missing_is_named(path: str, expected: str):
    assert expected in faults_with({}, (path,))


def test_training_args_may_be_given_by_flags_alone():
    assert faults_with({}, ('training_args',)) == []


def test_all_faults_come_at_once_and_each_once():
    faults = faults_with(
        {
            'model_args.type': 'x',
            'data_args.tset': None,
            'data_args.train.type': 'y',
            'data_args.train.cfgs.0.policy.word': 3,
            'data_args.multitest.two.cfg.shot': 'many',
            'training_args.sed': 1,
        }
    )
    starts = ['model_args.type', 'data_args.tset', 'data_args.train.type', 'data_args.train.cfgs.0.policy.word']
    starts += ['data_args.multitest.two.cfg.shot', 'training_args.sed']
    assert len(faults) == len(starts)
    assert all(any(fault.startswith(f'{start}:') for fault in faults) for start in starts)


def test_a_misspelt_argument_is_not_reported_as_missing_too():
    faults = faults_with({'data_args.test.filenam': 'a.jsonl'}, ('data_args.test.filename',))
    assert faults == ["data_args.test.filenam: Episodes has no argument 'filenam'; did you mean 'filename'?"]


def test_the_error_lists_its_faults():
    error = ConfigError(['a: wrong', 'b: wrong'], 'run.py')
    assert str(error) == 'run.py: 2 faults\n  a: wrong\n  b: wrong'
    assert isinstance(error, ValueError)
    assert ConfigError(['x']).faults == ['x']
