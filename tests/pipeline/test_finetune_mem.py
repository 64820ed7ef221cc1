"""The run with flash attention: refused with the reason, or the run of finetune.py with that one value changed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mllm.config.config import prepare_args
from mllm.models import attention
from mllm.pipeline import finetune, finetune_mem


def test_without_a_gpu_it_ends_at_once_with_the_reason(
    write_config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert finetune_mem.main([str(write_config()), '--output_dir', str(tmp_path / 'out')]) == 2
    assert 'needs a GPU' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_another_attention_by_hand_is_refused(capsys: pytest.CaptureFixture[str]):
    assert finetune_mem.main(['run.py', '--cfg-options', 'model_args.attn_implementation=sdpa']) == 2
    assert capsys.readouterr().err.startswith(
        'model_args.attn_implementation=sdpa: finetune_mem.py is finetune.py with'
    )


def test_flash_stands_above_the_file(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finetune_mem, 'choose_attention', lambda name: name)
    started: list[list[str]] = []
    monkeypatch.setattr(finetune, 'main', lambda argv: started.append(argv) or 0)
    config = write_config("model_args = dict(attn_implementation='sdpa')")
    flags = ['--output_dir', str(tmp_path / 'out'), '--cfg-options', 'training_args.seed=3', '--max_steps', '2']
    assert finetune_mem.main([str(config), *flags]) == 0
    cfg, training_args = prepare_args(started[0])
    assert cfg.model_args.attn_implementation == 'flash_attention_2'
    assert (training_args.seed, training_args.max_steps) == (3, 2)


def test_on_an_older_card_the_run_goes_on_with_sdpa(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    monkeypatch.setattr(attention.logger, 'warning', lambda text, *values: told.append(text % values))
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (7, 0))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'V100')
    cpu_trainer(monkeypatch)
    out = tmp_path / 'out'
    assert finetune_mem.main([str(write_config()), '--output_dir', str(out), '--max_steps', '1']) == 0
    assert 'V100' in told[0]
    assert (out / 'model.safetensors').is_file()


def cpu_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what chooses the attention believes in the card."""
    seen = attention.torch

    class Torch:
        class cuda:  # noqa: N801
            is_available = staticmethod(lambda: True)
            get_device_capability = staticmethod(lambda: seen.cuda.get_device_capability())
            get_device_name = staticmethod(lambda: seen.cuda.get_device_name())

    monkeypatch.setattr(attention, 'torch', Torch)
