"""From files, options and flags to one config; what is written loads to the same."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mllm.config.config import ConfigError, dump_config, load_config, prepare_args

from_file = "training_args = dict(output_dir='file', seed=1, learning_rate=0.1, max_steps=1)"


def faults_of(*argv: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        prepare_args(argv)
    return error.value.faults


def test_file_then_options_then_typed_flags(write: Callable[..., str]):
    path = write('run.py', Path(write()).read_text() + from_file + "\ntraining_args['use_cpu'] = True")
    options = ['--cfg-options', 'training_args.seed=2', 'training_args.learning_rate=0.2']
    cfg, args = prepare_args([path, *options, '--learning_rate', '0.3'])
    assert (args.max_steps, args.seed, args.learning_rate) == (1, 2, 0.3)
    assert cfg.training_args.to_dict() == {
        'output_dir': 'file',
        'seed': 2,
        'learning_rate': 0.3,
        'max_steps': 1,
        'use_cpu': True,
    }


def test_a_flag_with_the_default_value_overrides_the_file(write: Callable[..., str]):
    _, args = prepare_args([write(), '--seed', '42', '--no_average_tokens_across_devices'])
    assert args.seed == 42
    assert not args.average_tokens_across_devices


def test_flags_serve_without_the_section(write: Callable[..., str]):
    text = Path(write()).read_text().partition('training_args')[0]
    _, args = prepare_args([write('run.py', text), '--output_dir', 'x', '--use_cpu', '--warmup_steps', '0.1'])
    assert args.output_dir == 'x'
    assert args.warmup_steps == 0.1


def test_options_reach_lists_dicts_and_missing_parents(write: Callable[..., str]):
    path = write('run.py', Path(write()).read_text() + "data_args['validation'] = None")
    options = ['data_args.validation.type=Mixture', 'data_args.validation.cfgs=[]']
    options += ['data_args.validation.probabilities=[1, 2]', 'data_args.validation.probabilities.1=0.5']
    options += ['data_args.multitest.rare things.cfg.shot=3']
    cfg = load_config(path, options)
    assert cfg.data_args.validation.to_dict() == {'type': 'Mixture', 'cfgs': [], 'probabilities': [1, 0.5]}
    assert cfg.data_args.multitest['rare things'].cfg.shot == 3
    assert cfg.data_args.train.shot == 1, 'the entry both splits come from was changed'


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ('model_args.path.x=1', "--cfg-options model_args.path.x: model_args.path is 'weights', which has no 'x'"),
        ('data_args.list.5=1', 'data_args.list is a list with 2 items; give an index below that, not'),
        ('data_args.list.x.y=1', 'data_args.list is a list with 2 items'),
        ('nonsense', 'expected KEY=VALUE'),
    ],
)
def test_options_that_lead_nowhere(write: Callable[..., str], option: str, expected: str):
    path = write('run.py', Path(write()).read_text() + "data_args['list'] = [1, 2]")
    with pytest.raises(ConfigError) as error:
        load_config(path, [option])
    assert any(expected in fault for fault in error.value.faults)


def test_all_faults_of_file_options_and_flags_come_at_once(write: Callable[..., str]):
    text = Path(write()).read_text().replace("output_dir='exp/good', ", '').replace('Exact', 'Exakt')
    faults = faults_of(
        write('run.py', text), '--cfg-options', 'x', 'data_args.trian.a=1', '--seed', 'abc', '--sed', '1'
    )
    starts = ['--seed:', '--sed:', '--cfg-options x', 'data_args.trian:', 'data_args.compute_metric.type:']
    starts += ['data_args.multitest.rare things.compute_metric.type:', 'training_args.output_dir: missing']
    assert len(faults) == len(starts)
    assert all(any(fault.startswith(start) for fault in faults) for start in starts), faults


def test_output_dir_must_be_named(write: Callable[..., str]):
    path = write('run.py', Path(write()).read_text().replace("'exp/good'", 'None'))
    (fault,) = faults_of(path)
    assert '--output_dir' in fault


def test_combinations_that_hugging_face_refuses(write: Callable[..., str]):
    (fault,) = faults_of(write(), '--load_best_model_at_end', '--save_strategy', 'epoch')
    assert fault.startswith('training_args: --load_best_model_at_end requires')


def test_upper_case_names_and_helpers_leave_the_config(write: Callable[..., str]):
    cfg = load_config(write('run.py', Path(write()).read_text() + "\n_tmp = 1\nOTHER_1 = 'x'"))
    assert set(cfg.to_dict()) == {'model_args', 'data_args', 'training_args'}


def test_lower_case_helpers_are_faults(write: Callable[..., str]):
    (fault,) = faults_of(write('run.py', Path(write()).read_text() + '\nways = 2'))
    assert fault.startswith('ways: unknown section')
    assert 'UPPER_CASE' in fault


def test_bases_references_and_variables(write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(
        'base/data.py',
        "REC = dict(type='Lines', filename='{{$MLLM_TEST_DATA:data}}/rec.jsonl', image_folder='{{fileDirname}}')\n"
        "training_args = dict(output_dir='exp/{{$MLLM_CONFIG_NAME:run}}', logging_steps=3, seed=5)",
    )
    path = write(
        'my_run.py',
        "_base_ = ['base/data.py']\n"
        "model_args = dict(type='tiny', path='{{fileBasenameNoExtension}}')\n"
        "data_args = dict(train=dict(type='Mixture', cfgs=[_base_.REC, {{_base_.REC}}]), test={{_base_.REC}})\n"
        'training_args = dict(seed=7, use_cpu=True, lr_scheduler_type="polynomial", '
        'lr_scheduler_kwargs=dict(_delete_=True, power=2))',
    )
    rec = {'type': 'Lines', 'filename': 'data/rec.jsonl', 'image_folder': f'{tmp_path}/base'}
    cfg, args = prepare_args([path])
    assert cfg.data_args.to_dict() == {'train': {'type': 'Mixture', 'cfgs': [rec, rec]}, 'test': rec}
    assert (args.output_dir, args.logging_steps, args.seed) == ('exp/my_run', 3, 7)
    assert args.lr_scheduler_kwargs == {'power': 2}
    assert cfg.model_args.path == 'my_run'
    assert 'MLLM_CONFIG_NAME' not in os.environ
    monkeypatch.setenv('MLLM_TEST_DATA', '/elsewhere')
    assert load_config(path).data_args.test.filename == '/elsewhere/rec.jsonl'


def test_loading_is_silent(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    monkeypatch.setenv('MLLM_TEST_DATA', '/elsewhere')
    load_config(write('run.py', Path(write()).read_text() + "\nX = '{{$MLLM_TEST_DATA:data}}'"))
    assert capfd.readouterr() == ('', '')


def test_configs_may_import_and_compute(write: Callable[..., str]):
    text = "from pathlib import Path\nPATH = Path('a') / 'b'\nimport math\n" + Path(write()).read_text()
    cfg = load_config(write('run.py', text.replace("path='weights'", 'path=PATH')))
    assert cfg.model_args.path == 'a/b'
    assert set(cfg.to_dict()) == {'model_args', 'data_args', 'training_args'}


@pytest.mark.parametrize(
    ('name', 'text', 'expected'),
    [
        ('run.py', 'x = 1\ny = (', 'run.py:2: SyntaxError: '),
        ('run.py', "_base_ = ['broken.py']", 'broken.py:2: SyntaxError: '),
        ('run.py', 'x = 1\ny = missing', "run.py:2: NameError: name 'missing'"),
        (
            'run.py',
            "_base_ = ['base.py']\n\nx = _base_.REK",
            "run.py:3: AttributeError: there is no 'REK'; did you mean 'REC'?",
        ),
        ('run.py', "_base_ = ['base.py', 'base2.py']", 'run.py: KeyError: '),
        ('run.py', "_base_ = ['nowhere.py']", 'nowhere.py" does not exist'),
        ('run.txt', 'x = 1', 'run.txt: OSError: Only py'),
        ('run.py', "filename = 'x'", 'filename'),
    ],
)
def test_files_that_cannot_be_read(write: Callable[..., str], name: str, text: str, expected: str):
    write('broken.py', '# one\nx = = 3')
    write('base.py', 'REC = dict(a=1)')
    write('base2.py', 'REC = dict(a=2)')
    with pytest.raises(ConfigError) as error:
        load_config(write(name, text))
    assert expected in str(error.value)


def test_a_file_that_is_not_there():
    assert faults_of('no/such.py', '--sed', '3') == [
        '--sed: unknown flag; did you mean --seed?',
        'no/such.py: there is no such config file',
    ]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.text('abc_ {}', min_size=1).filter(lambda key: key != '_delete_') | st.sampled_from(['from', 'type']),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_the_dump_loads_to_the_same_config(write: Callable[..., str], tmp_path: Path, kwargs: dict[str, Any]):
    cfg = load_config(write())
    cfg.model_args['target_processor'] = kwargs
    args: Any = SimpleNamespace(process_index=0, output_dir=str(tmp_path / 'out'))
    again = load_config(dump_config(cfg, args))
    assert again.to_dict() == cfg.to_dict()
    assert again.model_args.to_dict()['target_processor'] == kwargs


def test_the_dump_can_be_run_again(write: Callable[..., str], tmp_path: Path):
    cfg, args = prepare_args([write(), '--output_dir', str(tmp_path / 'out'), '--seed', '9', '--hub_token', 'secret'])
    path = dump_config(cfg, args)
    assert path == tmp_path / 'out' / 'cfg.py'
    cfg.training_args.pop('hub_token')
    again, args_again = prepare_args([str(path)])
    assert again.to_dict() == cfg.to_dict()
    assert json.dumps(args_again.to_dict()['seed']) == '9'
    assert args_again.output_dir == args.output_dir
    before = path.read_text()
    assert 'secret' not in before
    dump_config(again, args_again)
    assert path.read_text() == before
    assert [item.name for item in path.parent.iterdir()] == ['cfg.py']


def test_only_rank_0_writes(write: Callable[..., str], tmp_path: Path):
    other: Any = SimpleNamespace(process_index=1, output_dir=str(tmp_path / 'out'))
    dump_config(load_config(write()), other)
    assert not (tmp_path / 'out').exists()
