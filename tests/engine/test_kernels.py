"""Kernels a run asks for: refused with the reason where they cannot run, and set so that the loss stays ours."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from mllm.config.training_args import TrainingArguments
from mllm.engine import kernels
from mllm.engine.kernels import kernel_faults, liger_options
from mllm.engine.trainer import MultimodalTrainer
from tests.engine.conftest import make_model, make_preprocessor


def arguments(folder: Path, **values: Any) -> TrainingArguments:
    return TrainingArguments(output_dir=str(folder), use_cpu=True, report_to='none', **values)


def on_gpu(**values: Any) -> Any:
    """Training arguments as on a machine with a GPU."""
    plain = {'use_liger_kernel': True, 'liger_kernel_config': None, 'do_train': True, 'bf16': True, 'fp16': False}
    return SimpleNamespace(**{**plain, **values}, device=torch.device('cuda', 0))


@pytest.fixture
def liger(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType('liger_kernel.transformers.monkey_patch')
    setattr(module, 'MODEL_TYPE_TO_APPLY_LIGER_FN', {'llava': None, 'llama': None})  # noqa: B010
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(kernels, 'is_liger_kernel_available', lambda: True)


def test_liger_without_a_gpu_is_refused(tmp_path: Path):
    args = arguments(tmp_path, use_liger_kernel=True, liger_kernel_config={'fused_linear_cross_entropy': True})
    with pytest.raises(ValueError, match=r'run on GPUs, and this run is on cpu') as caught:
        MultimodalTrainer(make_model(), args, make_preprocessor())
    assert 'liger_kernel_config.fused_linear_cross_entropy' in str(caught.value)


def test_liger_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, 'is_liger_kernel_available', lambda: False)
    (fault,) = kernel_faults(make_model(), on_gpu())
    assert 'pip install liger-kernel' in fault


def test_liger_knows_models_by_type(liger):
    assert not [*kernel_faults(make_model('llama'), on_gpu())]
    (fault,) = kernel_faults(make_model('lfm2'), on_gpu())
    assert 'no kernels for lfm2' in fault


def test_liger_leaves_the_forward_to_the_model():
    args = on_gpu(liger_kernel_config={'rope': False})
    assert liger_options(args) == {'rope': False, 'fused_linear_cross_entropy': False}


def attending(name: str) -> Any:
    model = make_model()
    model.config.get_text_config()._attn_implementation = name
    return model


def test_flex_attention_learns_on_gpus_only(tmp_path: Path):
    (fault,) = kernel_faults(attending('flex_attention'), arguments(tmp_path, do_train=True))
    assert 'learns on GPUs only' in fault
    assert not [*kernel_faults(attending('flex_attention'), arguments(tmp_path))]


def test_flash_attention_computes_in_16_bits(tmp_path: Path):
    args = arguments(tmp_path, do_train=True)
    (fault,) = kernel_faults(SimpleNamespace(**flash(torch.float32)), args)
    assert 'add bf16=True' in fault
    assert not [*kernel_faults(SimpleNamespace(**flash(torch.bfloat16)), args)]
    assert not [*kernel_faults(SimpleNamespace(**flash(torch.float32)), arguments(tmp_path, bf16=True))]


def flash(dtype: torch.dtype) -> dict[str, Any]:
    """What is asked of a model; none with flash attention can be made here."""
    text = SimpleNamespace(_attn_implementation='flash_attention_2')
    return {'dtype': dtype, 'config': SimpleNamespace(get_text_config=lambda: text)}
