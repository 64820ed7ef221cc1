"""Which differences make it another run."""

from mllm.config.changes import changes

OLD = {
    'model_args': {'type': 'llava', 'freeze': ['a', 'b'], 'feature_cache': 'memory'},
    'data_args': {'train': {'shot': 1, 'cfgs': []}, 'test': None},
    'training_args': {'seed': 1, 'max_steps': 5, 'logging_steps': 10},
}


def test_nothing_changed():
    assert changes(OLD, OLD) == ([], [])


def test_model_and_training_data_make_another_run():
    new = {
        **OLD,
        'model_args': {'type': 'llava', 'freeze': ['a'], 'tune': ['c'], 'feature_cache': None},
        'data_args': {'train': {'shot': 1, 'cfgs': [{'type': 'x'}]}, 'test': {'type': 'y'}, 'on_bad_sample': 'skip'},
    }
    run, course = changes(OLD, new)
    assert run == [
        "model_args.tune.0 is 'c', was None",
        "data_args.train.cfgs.0.type is 'x', was None",
        "model_args.freeze.1 is None, was 'b'",
        'data_args.train.cfgs is None, was []',
    ]
    assert course == []


def test_training_arguments_change_the_course_alone():
    run, course = changes(OLD, {**OLD, 'training_args': {'seed': 2, 'max_steps': 9, 'logging_steps': 1, 'bf16': True}})
    assert run == []
    assert course == ['training_args.seed is 2, was 1', 'training_args.bf16 is True, was None']
