"""Old names of training arguments: what each becomes, in which order, and with what words."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from accelerate.utils.constants import FSDP_AUTO_WRAP_POLICY
from hypothesis import given
from hypothesis import strategies as st

from mllm.config.arguments import fits
from mllm.config.config import ConfigError, dump_config, load_config, prepare_args
from mllm.config.renamed import REMOVED, Values, translate
from mllm.config.training_args import TrainingArguments, training_hints

LAYER = {
    'fsdp_config.transformer_layer_cls_to_wrap': ['LlamaDecoderLayer'],
    'fsdp_config.auto_wrap_policy': 'TRANSFORMER_BASED_WRAP',
}
SIZE = {'fsdp_config.min_num_params': 1000, 'fsdp_config.auto_wrap_policy': 'SIZE_BASED_WRAP'}
NOTHING: Values = {}

BECOMES: list[tuple[str, Any, Values]] = [
    ('adafactor', True, {'optim': 'adafactor'}),
    ('adafactor', False, NOTHING),
    ('evaluation_strategy', 'steps', {'eval_strategy': 'steps'}),
    ('fp16_backend', 'cuda_amp', NOTHING),
    ('fp16_opt_level', 'O1', NOTHING),
    ('fsdp_min_num_params', 1000, SIZE),
    ('fsdp_min_num_params', 0, NOTHING),
    ('fsdp_transformer_layer_cls_to_wrap', 'LlamaDecoderLayer', LAYER),
    ('group_by_length', False, NOTHING),
    ('group_by_length', True, NOTHING),
    ('half_precision_backend', 'auto', NOTHING),
    ('include_inputs_for_metrics', True, {'include_for_metrics': ['inputs']}),
    ('include_tokens_per_second', True, NOTHING),
    ('jit_mode_eval', False, NOTHING),
    ('logging_dir', 'logs', {'TENSORBOARD_LOGGING_DIR': 'logs'}),
    ('mp_parameters', '', NOTHING),
    ('no_cuda', True, {'use_cpu': True}),
    ('no_cuda', False, NOTHING),
    ('past_index', -1, NOTHING),
    ('per_gpu_eval_batch_size', 4, {'per_device_eval_batch_size': 4}),
    ('per_gpu_train_batch_size', 4, {'per_device_train_batch_size': 4}),
    ('per_gpu_train_batch_size', None, NOTHING),
    ('push_to_hub_model_id', 'a/b', {'hub_model_id': 'a/b'}),
    ('push_to_hub_organization', None, NOTHING),
    ('push_to_hub_token', 'secret', {'hub_token': 'secret'}),
    ('ray_scope', 'last', NOTHING),
    ('save_safetensors', True, NOTHING),
    ('sharded_ddp', '', NOTHING),
    ('torchdynamo', 'inductor', {'torch_compile_backend': 'inductor'}),
    ('tpu_metrics_debug', False, NOTHING),
    ('tpu_num_cores', None, NOTHING),
    ('use_ipex', False, NOTHING),
    ('use_legacy_prediction_loop', False, NOTHING),
    ('use_mps_device', True, NOTHING),
    ('warmup_ratio', 0.03, {'warmup_steps': 0.03}),
    ('warmup_ratio', 0, NOTHING),
    ('xpu_backend', 'gloo', {'ddp_backend': 'gloo'}),
]

REFUSED: list[tuple[str, Any, str]] = [
    ('fp16_backend', 'apex', 'bf16=True'),
    ('fp16_opt_level', 'O2', 'leave it out'),
    ('half_precision_backend', 'apex', 'bf16=True'),
    ('jit_mode_eval', True, 'torch_compile'),
    ('mp_parameters', 'x=1', 'leave it out'),
    ('past_index', 0, 'leave it out'),
    ('push_to_hub_organization', 'us', 'hub_model_id'),
    ('ray_scope', 'all', 'leave it out'),
    ('save_safetensors', False, 'safetensors'),
    ('sharded_ddp', 'simple', 'fsdp=True'),
    ('tpu_metrics_debug', True, 'leave it out'),
    ('tpu_num_cores', 8, 'leave it out'),
    ('use_ipex', True, 'leave it out'),
    ('use_legacy_prediction_loop', True, 'leave it out'),
    ('warmup_ratio', 1.0, 'warmup_steps'),
    ('warmup_ratio', -0.1, 'warmup_steps'),
    ('no_cuda', 'yes', 'expected bool'),
    ('evaluation_strategy', 3, 'expected str'),
]


def test_the_examples_cover_the_table():
    assert {name for name, *_ in BECOMES} == set(REMOVED)


def test_no_old_name_is_live_and_every_target_is():
    live = {item.name for item in fields(TrainingArguments)}
    assert not live & set(REMOVED)
    targets = {new for *_, values in BECOMES for new in values}
    assert {new.split('.')[0] for new in targets if not new.isupper()} <= live
    assert {new for new in targets if new.isupper()} == {'TENSORBOARD_LOGGING_DIR'}
    assert {LAYER['fsdp_config.auto_wrap_policy'], SIZE['fsdp_config.auto_wrap_policy']} <= set(FSDP_AUTO_WRAP_POLICY)


@pytest.mark.parametrize(('old', 'value', 'expected'), BECOMES)
def test_an_old_name_becomes_new_ones_with_one_warning(old: str, value: Any, expected: Values):
    result = translate({old: value, 'seed': 1}, 'training_args.')
    assert result.kept == {'seed': 1}
    assert result.new == expected
    assert result.faults == []
    (warning,) = result.warnings
    assert warning.startswith(f'training_args.{old}=')
    assert '\n' not in warning
    hints = training_hints()
    for new, new_value in expected.items():
        assert new in warning
        assert 'secret' not in warning
        assert '.' in new or new.isupper() or fits(new_value, hints[new])
    assert bool(expected) != ('it changes nothing' in warning)


@pytest.mark.parametrize(('old', 'value', 'instead'), REFUSED)
def test_what_nothing_stands_for_is_a_fault(old: str, value: Any, instead: str):
    result = translate({old: value}, '--')
    assert (result.kept, result.new, result.warnings) == ({}, {}, [])
    (fault,) = result.faults
    assert fault.startswith(f'--{old}={value!r}: an old name; ')
    assert instead in fault


@given(st.sampled_from([row for row in BECOMES if row[2]]), st.data())
def test_old_and_new_together_are_a_fault(row: tuple[str, Any, Values], data: st.DataObject):
    old, value, values = row
    new = data.draw(st.sampled_from([name for name in values if not name.isupper()] or ['']))
    if new:
        top, _, inner = new.partition('.')
        for both in ({new: values[new]}, {top: {inner: 1}} if inner else {new: None}):
            result = translate({**both, old: value}, 'training_args.')
            (fault,) = result.faults
            assert f'{new} is given too' in fault
            assert result.new == {}


def test_two_old_names_for_one_thing_are_a_fault():
    result = translate({'fsdp_min_num_params': 5, 'fsdp_transformer_layer_cls_to_wrap': 'X'}, '--')
    (fault,) = result.faults
    assert fault.startswith("--fsdp_transformer_layer_cls_to_wrap='X'")
    assert '--fsdp_min_num_params is given too' in fault


def test_a_neutral_old_value_beside_the_new_name_is_none():
    result = translate({'warmup_ratio': 0.0, 'warmup_steps': 100}, '')
    assert (result.kept, result.new, result.faults) == ({'warmup_steps': 100}, {}, [])


def test_another_folder_in_the_environment_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('TENSORBOARD_LOGGING_DIR', 'logs')
    assert translate({'logging_dir': 'logs'}, '').faults == []
    (fault,) = translate({'logging_dir': 'elsewhere'}, '').faults
    assert "TENSORBOARD_LOGGING_DIR='logs'" in fault


# ---- in a whole config ----


def written(write: Callable[..., str], *lines: str) -> str:
    """A good config with training arguments of its own."""
    head = Path(write()).read_text().partition('training_args')[0]
    return write('run.py', '\n'.join([f"{head}training_args = dict(output_dir='out', use_cpu=True)", *lines]))


def test_file_options_and_flags_take_old_names(
    write: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = written(write, "training_args.update(evaluation_strategy='epoch', warmup_ratio=0.1, save_safetensors=True)")
    options = ['--cfg-options', 'training_args.evaluation_strategy=steps', 'training_args.eval_steps=5']
    flags = ['--warmup_ratio', '0.2', '--per_gpu_train_batch_size', '3', '--output_dir', str(tmp_path / 'out')]
    cfg, args = prepare_args([path, *options, *flags])
    assert (args.eval_strategy, args.warmup_steps, args.per_device_train_batch_size) == ('steps', 0.2, 3)
    assert caplog.messages == [
        "training_args.evaluation_strategy='epoch' is an old name; used, and to be written instead: "
        "eval_strategy='epoch'",
        'training_args.warmup_ratio=0.1 is an old name; used, and to be written instead: warmup_steps=0.1',
        'training_args.save_safetensors=True is an old name; it changes nothing, leave it out',
        "--cfg-options training_args.evaluation_strategy='steps' is an old name; used, and to be written instead: "
        "eval_strategy='steps'",
        '--per_gpu_train_batch_size=3 is an old name; used, and to be written instead: per_device_train_batch_size=3',
        '--warmup_ratio=0.2 is an old name; used, and to be written instead: warmup_steps=0.2',
    ]
    caplog.clear()
    again = load_config(dump_config(cfg, args))
    assert again.to_dict() == cfg.to_dict()
    assert not set(again.training_args) & set(REMOVED)
    assert caplog.messages == []


def test_a_new_name_later_overrides_an_old_one(write: Callable[..., str]):
    path = written(write, "training_args['evaluation_strategy'] = 'epoch'")
    _, args = prepare_args([path, '--eval_strategy', 'no'])
    assert args.eval_strategy == 'no'


def test_a_whole_section_as_an_option(write: Callable[..., str]):
    cfg = load_config(written(write), ["training_args={'no_cuda': True, 'seed': 3}"])
    assert cfg.training_args.to_dict() == {'use_cpu': True, 'seed': 3}


def test_details_of_fsdp_join_those_there_are(write: Callable[..., str]):
    path = written(write, "training_args['fsdp_config'] = dict(cpu_offload=True)")
    cfg = load_config(path, ['training_args.fsdp_transformer_layer_cls_to_wrap=LlamaDecoderLayer'])
    layer = {name.split('.')[1]: value for name, value in LAYER.items()}
    assert cfg.training_args.fsdp_config.to_dict() == {'cpu_offload': True, **layer}


def test_details_of_fsdp_in_a_file_of_their_own_are_a_fault(write: Callable[..., str]):
    with pytest.raises(ConfigError, match=r"fsdp_config is 'fsdp.json', which has no 'min_num_params'"):
        load_config(written(write, "training_args['fsdp_config'] = 'fsdp.json'"), ['training_args.fsdp_min_num_params=1'])


def test_all_faults_come_at_once_and_nothing_is_warned_of(
    write: Callable[..., str], caplog: pytest.LogCaptureFixture
):
    path = written(write, "training_args.update(past_index=1, no_cuda=True, seed='x')")
    with pytest.raises(ConfigError) as error:
        prepare_args([path, '--tpu_num_cores', '8', '--sed', '1'])
    starts = ['--sed', 'training_args.past_index', 'training_args.no_cuda', '--tpu_num_cores', 'training_args.seed']
    assert [fault.split(':')[0].split('=')[0] for fault in error.value.faults] == starts
    assert caplog.messages == []


def test_the_folder_of_tensorboard(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('TENSORBOARD_LOGGING_DIR', '')
    monkeypatch.delenv('TENSORBOARD_LOGGING_DIR')
    from transformers.integrations import TensorBoardCallback

    prepare_args([written(write), '--logging_dir', 'logs'])
    assert TensorBoardCallback().logging_dir == 'logs'


def test_what_transformers_translates_itself(write: Callable[..., str]):
    with pytest.warns(FutureWarning, match='activation_checkpointing'):
        _, args = prepare_args([written(write), '--gradient_checkpointing'])
    assert args.activation_checkpointing
