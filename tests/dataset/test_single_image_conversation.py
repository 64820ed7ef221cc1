"""The dataset a loader reads: pure in (seed, epoch, index), and what it does with bad samples."""

from collections.abc import Callable

import pytest
from torch.utils.data import DataLoader

from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.dataset.single_image_convsation import SingleImageConvDataset as HistoricalName
from mllm.dataset.source import ItemSource
from mllm.types import Preprocessor, RawItem, Sample, Skipped
from mllm.utils.faults import BadSampleError
from mllm.utils.rng import ItemRng

BAD = (2, 3)


class Numbers(ItemSource):
    """Eight items whose label is drawn; two of them cannot be read."""

    def __init__(self, make_item: Callable[..., RawItem]) -> None:
        self.make_item = make_item

    def __len__(self) -> int:
        return 8

    def get_item(self, index: int, rng: ItemRng) -> RawItem:
        if index in BAD:
            raise FileNotFoundError(f'picture {index} is missing')
        return self.make_item(f'{index}-{rng("label").integers(10**6)}')

    def describe(self, index: int) -> str:
        return f'rows.jsonl:{index + 1}'


@pytest.fixture
def make_dataset(
    preprocessor: Preprocessor, make_item: Callable[..., RawItem]
) -> Callable[..., SingleImageConvDataset]:
    def make(training: bool = True, **kwargs: object) -> SingleImageConvDataset:
        return SingleImageConvDataset(Numbers(make_item), preprocessor, training, **kwargs)  # type: ignore[arg-type]

    return make


def test_the_historical_import_path_is_the_same_class():
    assert HistoricalName is SingleImageConvDataset


def test_a_sample_depends_on_seed_epoch_and_index_alone(make_dataset: Callable[..., SingleImageConvDataset]):
    first = make_dataset(seed=1)[(0, 5)].input_ids
    assert make_dataset(seed=1)[(0, 5)].input_ids == first
    assert make_dataset(seed=1)[(1, 5)].input_ids != first
    assert make_dataset(seed=2)[(0, 5)].input_ids != first


@pytest.mark.parametrize('workers', [0, 2])
def test_workers_draw_what_one_process_draws(make_dataset: Callable[..., SingleImageConvDataset], workers: int):
    dataset = make_dataset()
    keys = [(epoch, index) for epoch in (0, 1) for index in (0, 1, 4, 5, 6, 7)]
    loader = DataLoader(dataset, sampler=keys, batch_size=2, num_workers=workers, collate_fn=list)
    drawn = [sample.input_ids for batch in loader for sample in batch]
    assert drawn == [dataset[key].input_ids for key in keys]
    assert len({tuple(ids) for ids in drawn}) == len(keys)


def test_a_bad_sample_says_where_it_comes_from(make_dataset: Callable[..., SingleImageConvDataset]):
    with pytest.raises(ValueError, match=r'rows\.jsonl:3 \(sample 2\): picture 2 is missing'):
        make_dataset()[(0, 2)]


def test_what_a_users_dataset_stumbles_over_names_line_and_code(preprocessor: Preprocessor):
    class Careless(Numbers):
        def get_item(self, index: int, rng: ItemRng) -> RawItem:
            return {}['box']

    dataset = SingleImageConvDataset(Careless(lambda label: {'conversations': []}), preprocessor, training=False)
    with pytest.raises(BadSampleError, match=r"^rows\.jsonl:1 \(sample 0\): KeyError: 'box' \(raised at .*get_item\)$"):
        dataset[0]
    dataset.on_bad_sample = 'skip'
    assert isinstance(dataset[0], Skipped)


def test_skipping_in_training_takes_the_next_good_one_and_lists_what_it_left(
    make_dataset: Callable[..., SingleImageConvDataset],
):
    sample = make_dataset(on_bad_sample='skip')[(0, 2)]
    assert isinstance(sample, Sample)
    assert sample.index == 4
    assert [reason.split(' ')[0] for reason in sample.meta['skipped']] == ['rows.jsonl:3', 'rows.jsonl:4']


def test_skipping_in_evaluation_keeps_the_place(make_dataset: Callable[..., SingleImageConvDataset]):
    skipped = make_dataset(training=False, on_bad_sample='skip')[3]
    assert isinstance(skipped, Skipped)
    assert skipped.index == 3


@pytest.mark.parametrize('index', [-1, 8])
def test_an_index_out_of_range_is_an_error(make_dataset: Callable[..., SingleImageConvDataset], index: int):
    with pytest.raises(IndexError, match='outside a dataset of 8'):
        make_dataset()[index]
