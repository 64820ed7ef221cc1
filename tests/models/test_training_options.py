"""Activation checkpointing, half precision and attention kernels change the cost of training, not what is learnt."""

from typing import Any

import pytest
import torch

from mllm.engine.collator import Collator
from mllm.engine.loss import supervised_loss

OPTIONS = {'full': {}, 'lora': {'lora': {'r': 2}}, 'projector': {'tune_mm_mlp_adapter': True}}


def gradients(build: Any, encode: Any, checkpointing: bool, **options: Any) -> dict[str, torch.Tensor]:
    model, preprocessor = build(**options)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({'use_reentrant': False})
    batch = Collator(preprocessor, 'right', training=True)([encode(preprocessor, 1, 2), encode(preprocessor, 3)])
    loss, _ = supervised_loss(model, batch)
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('option', OPTIONS)
def test_activation_checkpointing_gives_the_same_gradients(build, encode, option: str):
    plain = gradients(build, encode, False, **OPTIONS[option])
    saving = gradients(build, encode, True, **OPTIONS[option])
    assert plain.keys() == saving.keys()
    assert plain
    for name, gradient in plain.items():
        torch.testing.assert_close(saving[name], gradient, atol=1e-6, rtol=1e-4)


def test_weights_in_bfloat16_compute_about_the_same(build, encode, logits):
    model, preprocessor = build()
    half, _ = build(dtype='bfloat16')
    half.load_state_dict(model.state_dict())
    sample = [encode(preprocessor, 1, 2)]
    assert half.dtype == torch.bfloat16
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (found,) = logits(half, preprocessor, sample)
    (expected,) = logits(model, preprocessor, sample)
    assert (found.float() - expected).norm() / expected.norm() < 0.05
