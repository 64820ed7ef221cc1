"""Two processes on one machine, started as users start them: one launch (about 12 s), all checks in one test."""

import json
from pathlib import Path

import pytest
import torch

from mllm.engine.checkpoint import checkpoints, is_unfinished
from mllm.engine.collator import Collator
from mllm.engine.loss import supervised_loss
from mllm.engine.sampler import EpochSampler
from mllm.utils.manifest import MANIFEST, damage

SCRIPT = Path(__file__).with_name('two_processes.py')


def test_two_processes(tmp_path, tiny, preprocessor, launch_two):
    done = launch_two(SCRIPT, tmp_path)
    # The last thing that the script does: one rank fails, and the other must not wait for it for ever.
    assert done.returncode != 0
    assert 'RuntimeError: planned: rank 1 fails' in done.stderr, done.stdout + done.stderr
    ranks = [torch.load(tmp_path / f'rank{rank}.pt', weights_only=False) for rank in range(2)]
    for rank in ranks:
        for result in rank.values():
            assert (result['wrapped'], result['world_size']) == ('DistributedDataParallel', 2)
    check_gradients(ranks, 'accumulated', list(EpochSampler(16, 7, True))[:8], tiny, preprocessor, smoothing=0.1)
    check_gradients(ranks, 'text_only_rank', [(0, 0), (0, 1)], tiny, preprocessor, smoothing=0.0)
    for number, rank in enumerate(ranks):
        check_share(rank['undisturbed']['pairs'], number)
        check_resume(rank['undisturbed'], rank['resumed'])
        # Activation checkpointing changes the cost, though not all of the image encoder has gradients.
        check_weights(rank['undisturbed'], rank['checkpointed'])
    check_checkpoints(tmp_path / 'd')


def check_gradients(ranks, name, pairs, tiny, preprocessor, smoothing):
    """They are those of one process with the samples of both."""
    model = tiny.model()
    batch = Collator(preprocessor, 'right', training=True)([tiny.dataset(16)[pair] for pair in pairs])
    loss, _ = supervised_loss(model, batch, label_smoothing=smoothing)
    loss.backward()
    expected = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    for rank in ranks:
        assert rank[name]['losses'] == [pytest.approx(loss.item(), abs=1e-6)]
        for key, gradient in expected.items():
            torch.testing.assert_close(rank[name]['gradients'][key], gradient, rtol=1e-5, atol=1e-6, msg=key)


def check_share(pairs, number):
    """Ranks take turns in the sampler's order, whose epochs differ."""
    for epoch in range(3):
        order = [index for _, index in EpochSampler(11, 7, True, epoch)]
        expected = order[2 * number : 2 * number + 2] + order[2 * number + 4 : 2 * number + 6]
        assert [index for at, index in pairs if at == epoch][:4] == expected


def check_resume(undisturbed, resumed):
    assert resumed['pairs'][0][0] == 1
    assert resumed['pairs'] == undisturbed['pairs'][-len(resumed['pairs']) :]
    assert resumed['losses'] == undisturbed['losses']
    check_weights(undisturbed, resumed)


def check_weights(one, other):
    for name, tensor in one['weights'].items():
        assert torch.equal(other['weights'][name], tensor), name


def check_checkpoints(folder):
    """They are whole, with the random states of both ranks, and nothing half written is left."""
    assert [path.name for path in checkpoints(str(folder))] == ['checkpoint-4', 'checkpoint-8']
    for path in checkpoints(str(folder)):
        assert damage(path) is None
        assert {'rng_state_0.pth', 'rng_state_1.pth', 'optimizer.pt'} < json.loads((path / MANIFEST).read_text()).keys()
    assert not is_unfinished(str(folder))
