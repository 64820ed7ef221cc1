"""A bad sample comes out of a worker as the one line that it is."""

import pytest
from torch.utils.data import DataLoader, Dataset

from mllm.utils.faults import BadSampleError
from mllm.utils.loading import Caught, raise_caught


class Two(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index:
            raise BadSampleError('rows.jsonl:2: no such image')
        return index


@pytest.mark.parametrize('workers', [0, 1])
def test_a_worker_hands_over_the_error_itself(workers: int):
    (items,) = DataLoader(Caught(Two()), batch_size=2, num_workers=workers, collate_fn=list)
    assert items[0] == 0
    with pytest.raises(BadSampleError) as caught:
        raise_caught([*items, *items])
    assert str(caught.value) == 'rows.jsonl:2: no such image'
    raise_caught(items[:1])
