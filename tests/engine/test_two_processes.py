"""Two processes on one machine, started as users start them. One launch (about 15 s) serves all tests."""

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


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What `two_processes.py` saved, by rank."""
    out = tmp_path_factory.mktemp('two')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    launch = '-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no'
    command = [sys.executable, *launch.split(), '--dynamo_backend', 'no', '--main_process_port', str(port)]
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


def expected_gradients(tiny, preprocessor, pairs, smoothing):
    model = tiny.model()
    samples = [tiny.dataset(16)[pair] for pair in pairs]
    loss, _ = supervised_loss(model, Collator(preprocessor, 'right', training=True)(samples), None, smoothing)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_two_processes_really_ran(ranks):
    for rank in ranks:
        for result in rank.values():
            assert result['wrapped'] == 'DistributedDataParallel'
            assert result['world_size'] == 2


@pytest.mark.parametrize(
    ('name', 'length', 'shuffle', 'samples', 'smoothing'),
    [('accumulated', 16, True, 8, 0.1), ('text_only_rank', 4, False, 2, 0.0)],
)
def test_gradients_are_those_of_one_process_with_all_samples(
    ranks, tiny, preprocessor, name, length, shuffle, samples, smoothing
):
    pairs = list(EpochSampler(length, 7, shuffle))[:samples]
    loss, expected = expected_gradients(tiny, preprocessor, pairs, smoothing)
    for rank in ranks:
        assert rank[name]['losses'] == [pytest.approx(loss, abs=1e-6)]
        for key, gradient in expected.items():
            torch.testing.assert_close(rank[name]['gradients'][key], gradient, rtol=1e-5, atol=1e-6, msg=key)


def test_each_rank_trains_on_its_share_of_the_sampler_s_order(ranks):
    orders = [list(EpochSampler(11, 7, True, epoch)) for epoch in range(3)]
    for number, rank in enumerate(ranks):
        pairs = rank['undisturbed']['pairs']
        for epoch, order in enumerate(orders):
            # 11 samples make 6 batches of 2 with one repeated; the last epoch stops after 2 of its 3 steps.
            seen = [index for at, index in pairs if at == epoch][:4]
            assert seen == [index for _, index in order[2 * number : 2 * number + 2] + order[2 * number + 4 :][:2]]


def test_resume_is_exact_on_two_ranks(ranks):
    for rank in ranks:
        undisturbed, resumed = rank['undisturbed'], rank['resumed']
        assert resumed['losses'] == undisturbed['losses']
        assert resumed['pairs'][0][0] == 1
        assert resumed['pairs'] == undisturbed['pairs'][-len(resumed['pairs']) :]
        for name, tensor in undisturbed['weights'].items():
            assert torch.equal(resumed['weights'][name], tensor), name
