import pytest

from mllm.dataset.single_image_dataset.labelled_image import LabelledImageDataset
from mllm.registry import DATASETS
from mllm.utils.rng import ItemRng

NAMES = ['red fox', 'grey wolf', 'ice cream', 'st. bernard', 'crane', 'crane', 'tea pot']


@pytest.fixture
def source(world):
    return LabelledImageDataset(world.filename, world.folder, candidates=4)


def test_every_image_once_with_its_real_name(world, source):
    assert len(source) == 7 * 8
    items = [source.get_item(index, ItemRng(0, 0, index)) for index in range(len(source))]
    assert len({item['meta']['image_path'] for item in items}) == len(source)
    for item in items:
        name = NAMES[world.class_of(item)]
        question, answer = item['conversations']
        assert question['value'] == 'What is in the image <image>?'
        assert answer['value'] == f'there is "{name}" in the image.'
        assert item['meta']['label'] == name


def test_candidates_are_different_names_and_drawn_by_key(source):
    items = [source.get_item(index, ItemRng(0, 0, index)) for index in range(len(source))]
    for item in items:
        meta = item['meta']
        assert len(set(meta['candidates'])) == len(set(meta['labels'])) == 4
        assert item['conversations'][1]['value'] in meta['candidates']
    assert len({tuple(item['meta']['labels']) for item in items}) > 20
    assert source.get_item(9, ItemRng(0, 0, 9))['meta'] == items[9]['meta']


def test_episodes_have_no_support(source):
    episode = source.episode(0, ItemRng(0))
    assert episode.support == ()
    assert source.describe(8) == source.bank.where(1)


def test_parted_rows_give_all_their_images(world):
    assert len(LabelledImageDataset(world.hundred, world.folder)) == 7 * 8


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'question': 'What is it?'}, '<image> exactly once'),
        ({'answer_template': 'a <label> or a <label>'}, '<label> exactly once'),
        ({'candidates': 7}, r'candidates=7: expected 1\.\.6'),
    ],
)
def test_wrong_arguments(world, wrong, message):
    with pytest.raises(ValueError, match=message):
        LabelledImageDataset(world.filename, world.folder, **wrong)


def test_problems_and_registry(world, tmp_path):
    cfg = {'type': 'LabelledImageDataset', 'filename': world.filename, 'image_folder': str(tmp_path / 'none')}
    assert list(DATASETS.build(cfg).problems()) == [f'image_folder {tmp_path / "none"} does not exist']
    assert list(DATASETS.build({**cfg, 'image_folder': world.folder}).problems()) == []


def test_images_are_those_of_the_bank(source):
    assert {image.path for image in source.images()} == {path for _, path in source.labelled}
    assert source.most_shots() is None
