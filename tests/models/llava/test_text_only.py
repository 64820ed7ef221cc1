"""A training batch without an image gives tower and projector gradients, all zero, and changes nothing else."""

from typing import Any

import pytest
import torch

from mllm.engine.collator import Collator


@pytest.mark.parametrize('kind', ['clip_llama', 'resnet_lfm2'])
@pytest.mark.parametrize('frozen', [True, False])
def test_every_rank_has_the_same_gradients_to_share(build: Any, encode: Any, kind: str, frozen: bool):
    model, preprocessor = build(kind, freeze_vision_tower=frozen)
    collator = Collator(preprocessor, 'right', training=True)

    def with_gradient(*seeds: int | None) -> dict[str, float]:
        model.zero_grad()
        model.train()
        model(**collator([encode(preprocessor, *seeds)])).loss.backward()
        return {n: float(p.grad.abs().sum()) for n, p in model.named_parameters() if p.grad is not None}

    text, images = with_gradient(None), with_gradient(1, 2)
    assert text.keys() == images.keys()
    parts = [name for name in text if 'vision_tower' in name or 'multi_modal_projector' in name]
    assert any('vision_tower' in name for name in parts) != frozen
    assert all(text[name] == 0 for name in parts)
    assert sum(images[name] for name in parts) > 0


def test_loss_and_statistics_stay_as_they_are(build: Any, encode: Any):
    model, preprocessor = build('resnet_lfm2', freeze_vision_tower=False)
    batch = Collator(preprocessor, 'right', training=True)([encode(preprocessor, None)])
    with torch.no_grad():
        expected = model(**batch).loss
    model.train()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert torch.equal(model(**batch).loss, expected)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert model.model.vision_tower.training
