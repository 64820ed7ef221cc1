"""Beam search where rows have several images: each beam sees its own row's, in order."""

from typing import Any

import pytest
import torch

from mllm.engine.collator import Collator

BEAMS, STEPS = 3, 4


def batch_of(preprocessor: Any, samples: list[Any]) -> dict[str, Any]:
    batch = Collator(preprocessor, 'left', training=False)(samples)
    return {key: value for key, value in batch.items() if key != 'samples'}


@torch.no_grad()
def by_hand(model: Any, preprocessor: Any, sample: Any) -> list[int]:
    """The best of all continuations that beam search keeps, every one computed alone and without a cache."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(STEPS):
        grown = []
        for score, new in beams:
            ids = torch.tensor([[*sample.input_ids, *new]])
            logits = model(input_ids=ids, pixel_values=sample.images, use_cache=False).logits[0, -1]
            for value, token in zip(*(part.tolist() for part in logits.log_softmax(-1).topk(2 * BEAMS)), strict=True):
                grown.append((score + value, [*new, token]))
        beams = sorted(grown, key=lambda beam: -beam[0])[:BEAMS]
    return beams[0][1]


@pytest.mark.parametrize('kind', ['clip_llama', 'resnet_lfm2'])
def test_beams_of_rows_with_several_images(build: Any, encode: Any, kind: str):
    model, preprocessor = build(kind)
    samples = [encode(preprocessor, 1, 2, 3), encode(preprocessor, None), encode(preprocessor, 4, 5)]
    batch = batch_of(preprocessor, samples)
    options = {'do_sample': False, 'num_beams': BEAMS, 'max_new_tokens': STEPS, 'eos_token_id': None}
    found = model.generate(**batch, **options)[:, batch['input_ids'].shape[1] :].tolist()
    assert found == [by_hand(model, preprocessor, sample) for sample in samples]
