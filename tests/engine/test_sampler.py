import pytest
from accelerate import Accelerator
from accelerate.data_loader import skip_first_batches
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mllm.engine.sampler import EpochSampler


class Echo(Dataset):
    """Returns the key it was asked for."""

    def __len__(self):
        return 10

    def __getitem__(self, key):
        return key


@given(st.integers(0, 40), st.integers(0, 2**32), st.integers(0, 50))
def test_every_index_once_with_the_epoch(length, seed, epoch):
    pairs = list(EpochSampler(length, seed, shuffle=True, epoch=epoch))
    assert sorted(pairs) == [(epoch, index) for index in range(length)]
    assert pairs == list(EpochSampler(length, seed, shuffle=True, epoch=epoch))


def test_order_depends_on_epoch_and_seed():
    def order(seed, epoch):
        return [index for _, index in EpochSampler(50, seed, shuffle=True, epoch=epoch)]

    assert len({tuple(order(seed, epoch)) for seed in range(2) for epoch in range(3)}) == 6
    assert [index for _, index in EpochSampler(5, 0, shuffle=False, epoch=3)] == list(range(5))


def test_set_epoch_acts_on_the_next_iteration_only():
    sampler = EpochSampler(4, 0, shuffle=True)
    running = iter(sampler)
    first = next(running)
    sampler.set_epoch(1)
    assert {epoch for epoch, _ in [first, *running]} == {0}
    assert {epoch for epoch, _ in sampler} == {1}


@pytest.mark.parametrize('workers', [0, 2])
def test_epochs_reach_workers_that_persist_and_skipped_loaders(workers):
    sampler = EpochSampler(10, 0, shuffle=True)
    loader = DataLoader(
        Echo(), 2, sampler=sampler, num_workers=workers, persistent_workers=bool(workers), collate_fn=list
    )
    loader = Accelerator(cpu=True).prepare(loader)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        loader.set_epoch(epoch)
        expected = list(EpochSampler(10, 0, shuffle=True, epoch=epoch))
        assert [pair for batch in loader for pair in batch] == expected
    rest = skip_first_batches(loader, 3)
    sampler.set_epoch(5)
    rest.set_epoch(5)
    assert [pair for batch in rest for pair in batch] == list(EpochSampler(10, 0, shuffle=True, epoch=5))[6:]
