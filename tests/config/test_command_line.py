"""Flags: only what was typed, all faults at once; `--cfg-options` values."""

from typing import Any

import pytest

from mllm.config.arguments import choices, fits
from mllm.config.check import ConfigError
from mllm.config.command_line import CommandLineParser, parse_command_line, parse_option
from mllm.config.training_args import training_hints

EXAMPLES: list[tuple[Any, str]] = [(True, 'true'), (3, '3'), (0.5, '0.5'), ('x', 'x'), ({}, '{"a": 1}'), (['x'], 'x')]


def example(name: str, hint: Any) -> str:
    """A value that can be typed for a field of this type."""
    words = choices(hint)
    if words or name == 'debug':
        return words[0] if words else 'underflow_overflow'
    return next(text for value, text in EXAMPLES if fits(value, hint))


@pytest.mark.parametrize('name', sorted(set(training_hints()) - {'fsdp'}))
def test_every_training_argument_is_a_flag(name: str):
    hint = training_hints()[name]
    line = parse_command_line(['run.py', f'--{name}', example(name, hint)])
    assert line.faults == []
    assert list(line.flags) == [name]
    assert fits(line.flags[name], hint), line.flags


def test_only_typed_flags_are_returned():
    assert parse_command_line(['run.py']).flags == {}
    line = parse_command_line(['run.py', '--do_train', '--learning-rate', '1e-4', '--no_average_tokens_across_devices'])
    assert line.flags == {'do_train': True, 'learning_rate': 1e-4, 'average_tokens_across_devices': False}


def test_a_flag_typed_with_its_default_counts_as_typed():
    assert parse_command_line(['run.py', '--seed', '42', '--output_dir', 'x']).flags == {'seed': 42, 'output_dir': 'x'}


def test_flags_become_plain_data():
    flags = parse_command_line(['run.py', '--debug', 'underflow_overflow', '--generation_config', 'a/b']).flags
    assert flags == {'debug': ['underflow_overflow'], 'generation_config': 'a/b'}
    assert type(flags['debug'][0]) is str
    assert type(flags['generation_config']) is str


def test_cfg_options_may_be_repeated():
    line = parse_command_line(['run.py', '--cfg-options', 'a=1', 'b=2', '--seed', '1', '--cfg_options', 'c=3'])
    assert line.cfg_options == ['a=1', 'b=2', 'c=3']
    assert line.config == 'run.py'


def test_all_faults_come_at_once():
    argv = ['run.py', '--learnig_rate', '1e-4', '--seed', 'abc', '--max_steps=x', '--foo=1', '--optim', 'adamv_torch']
    faults = parse_command_line([*argv, '--warmup_ratio', 'much', '--use_cpu']).faults
    assert sorted(faults) == [
        '--foo: unknown flag',
        '--learnig_rate: unknown flag; did you mean --learning_rate?',
        "--max_steps: invalid int value: 'x'",
        "--optim: there is no 'adamv_torch'; did you mean 'adamw_torch' or 'adamw_torch_xla' or 'adamw_torch_8bit'?",
        "--seed: invalid int value: 'abc'",
        "--warmup_ratio: invalid float value: 'much'",
    ]


def test_old_names_are_flags_too():
    argv = ['run.py', '--evaluation_strategy', 'steps', '--warmup-ratio=0.1', '--no_cuda', '--group_by_length', 'false']
    line = parse_command_line([*argv, '--tpu_num_cores', '8'])
    assert line.faults == []
    old = {'evaluation_strategy': 'steps', 'warmup_ratio': 0.1, 'no_cuda': True, 'group_by_length': False}
    assert line.flags == {**old, 'tpu_num_cores': 8}


def test_help_and_hints_name_no_old_names(capsys: pytest.CaptureFixture[str]):
    (fault,) = parse_command_line(['run.py', '--warmup_ratios', '1']).faults
    assert fault == '--warmup_ratios: unknown flag'
    with pytest.raises(SystemExit):
        parse_command_line(['--help'])
    assert 'evaluation_strategy' not in capsys.readouterr().out


def test_flags_are_not_abbreviated():
    (fault,) = parse_command_line(['run.py', '--learning', '1e-4']).faults
    assert fault == '--learning: unknown flag; did you mean --learning_rate?'


def test_a_word_of_no_flag_is_a_fault():
    assert parse_command_line(['run.py', 'other.py']).faults == ["'other.py' belongs to no flag"]


def test_a_config_must_be_named():
    with pytest.raises(ConfigError, match='CONFIG'):
        parse_command_line([])
    with pytest.raises(ConfigError, match=r'(?s)--seed: invalid.*CONFIG'):
        parse_command_line(['--seed', 'abc'])


def test_help_shows_flags_with_defaults(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse_command_line(['--help'])
    assert stop.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert '--cfg-options KEY=VALUE' in text
    assert '--do_multi_predict' in text
    assert 'tensorboard, wandb, none. (default: tensorboard)' in text


def test_a_tool_may_add_options():
    parser = CommandLineParser()
    parser.add_argument('--keys', nargs='+', default=[])
    line = parse_command_line(['run.py', '--keys', 'a', 'b', '--seed', '3'], parser)
    assert line.others == {'keys': ['a', 'b']}
    assert line.flags == {'seed': 3}


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('3', 3),
        ('1e-3', 1e-3),
        ('true', True),
        ('False', False),
        ('None', None),
        ('word', 'word'),
        ('', ''),
        ("'3'", '3'),
        ('"a, b"', 'a, b'),
        ('What is this, <image>?', 'What is this, <image>?'),
        ('a=b', 'a=b'),
        ('007', '007'),
        ('1,2,3', [1, 2, 3]),
        ('a,b', ['a', 'b']),
        ('[a,b]', ['a', 'b']),
        ('[What is this <image>?]', ['What is this <image>?']),
        ('[a b, c, 3]', ['a b', 'c', 3]),
        ('[1, 2.5]', [1, 2.5]),
        ('(1, 2)', (1, 2)),
        ('[(a,1),[b]]', [('a', 1), ['b']]),
        ('{"a": [1, None]}', {'a': [1, None]}),
        ('[dict]', ['dict']),
    ],
)
def test_option_values(text: str, value: Any):
    key, parsed = parse_option(f'a.b={text}')
    assert key == 'a.b'
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize('option', ['a', '=1', 'a..b=1', '.a=1', 'a=[(b]'])
def test_wrong_options(option: str):
    with pytest.raises(ValueError, match='--cfg-options'):
        parse_option(option)
