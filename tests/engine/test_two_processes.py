"""Two processes on one machine, started as users start them: one launch (about 12 s), all checks in one test."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mllm.engine.collator import Collator
from mllm.engine.loss import supervised_loss
from mllm.engine.sampler import EpochSampler

SCRIPT = Path(__file__).with_name('two_processes.py')


def launch(out):
    """What `two_processes.py` saved, by rank."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    words = '-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no'
    command = [sys.executable, *words.split(), '--dynamo_backend', 'no', '--main_process_port', str(port)]
    path = [str(SCRIPT.parents[2]), *filter(None, [os.environ.get('PYTHONPATH')])]
    done = subprocess.run(
        [*command, str(SCRIPT), str(out)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [torch.load(out / f'rank{rank}.pt', weights_only=False) for rank in range(2)]


def test_two_processes(tmp_path, tiny, preprocessor):
    ranks = launch(tmp_path)
    for rank in ranks:
        for result in rank.values():
            assert (result['wrapped'], result['world_size']) == ('DistributedDataParallel', 2)
    check_gradients(ranks, 'accumulated', list(EpochSampler(16, 7, True))[:8], tiny, preprocessor, smoothing=0.1)
    check_gradients(ranks, 'text_only_rank', [(0, 0), (0, 1)], tiny, preprocessor, smoothing=0.0)
    for number, rank in enumerate(ranks):
        check_share(rank['undisturbed']['pairs'], number)
        check_resume(rank['undisturbed'], rank['resumed'])


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
    for name, tensor in undisturbed['weights'].items():
        assert torch.equal(resumed['weights'][name], tensor), name
