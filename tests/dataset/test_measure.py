"""What is sent back of an image and of a sample."""

import pytest
from PIL import Image

from mllm.dataset.measure import Measured, Measurements, measure_image, measure_sample
from mllm.dataset.single_image_conversation import SingleImageConvDataset
from mllm.dataset.source import Source
from mllm.types import Episode
from mllm.utils.image_io import ImageError


class Episodes(Source):
    """Episodes with two supports; what `fault` says is raised instead."""

    def __init__(self, make_item, fault=None, length=3):
        self.make_item, self.fault, self.length = make_item, fault, length

    def __len__(self):
        return self.length

    def episode(self, index, rng):
        if self.fault:
            raise self.fault
        items = [self.make_item(name) for name in ('fox', 'owl', 'bee')]
        items[0]['image'] = Image.new('RGB', (20, 10))
        return Episode(items[2], tuple(items[:2]))


@pytest.mark.parametrize('training', [True, False])
def test_a_sample_has_the_tokens_of_prompt_and_answer(preprocessor, make_item, training):
    measured = measure_sample(SingleImageConvDataset(Episodes(make_item), preprocessor, training), 0)
    (closed, plain) = (
        measure_sample(SingleImageConvDataset(Episodes(make_item), preprocessor, flag), 0).tokens
        for flag in (True, False)
    )
    assert closed == plain == measured.tokens > 20
    assert measured == Measured(((20, 10), (8, 8), (8, 8)), shown=3, tokens=measured.tokens)


def test_what_truncation_and_clipping_took(make_preprocessor, make_item):
    long = measure_sample(SingleImageConvDataset(Episodes(make_item), make_preprocessor(), True), 0).tokens
    short = SingleImageConvDataset(Episodes(make_item), make_preprocessor(max_length=long - 1), True)
    measured = measure_sample(short, 0)
    assert (measured.dropped, measured.shown, len(measured.sizes)) == (1, 2, 3)
    assert 0 < measured.tokens < long


@pytest.mark.parametrize(
    ('error', 'fault', 'of_image'),
    [
        (ValueError('box 0 is inverted'), 'box 0 is inverted', False),
        (ImageError('a.png: damaged'), 'a.png: damaged', True),
        (KeyError('label'), "KeyError: 'label'", False),
    ],
)
def test_whatever_a_dataset_raises_is_a_fault(preprocessor, make_item, error, fault, of_image):
    dataset = SingleImageConvDataset(Episodes(make_item, error), preprocessor, True)
    measured = measure_sample(dataset, 1)
    assert measured.fault.removesuffix(')').split(' (raised at ')[0] == fault
    assert measured == Measured(fault=measured.fault, image_fault=of_image)


def test_images_are_read_to_the_last_pixel(tmp_path):
    path = tmp_path / 'a.png'
    Image.effect_noise((30, 20), 50).save(path)
    assert measure_image('a.png', str(tmp_path)) == Measured(((30, 20),), shown=1)
    cut = tmp_path / 'b.png'
    cut.write_bytes(path.read_bytes()[:-200])
    measured = measure_image('b.png', str(tmp_path))
    assert measured.image_fault
    assert 'b.png: truncated' in measured.fault


def test_numbers_lead_to_images_first(preprocessor, make_item):
    datasets = [SingleImageConvDataset(Episodes(make_item, length=length), preprocessor, True) for length in (2, 0, 1)]
    measurements = Measurements([('a', None), ('b', None)], datasets)
    places = [measurements.locate(number) for number in range(len(measurements))]
    assert places == [(-1, 0), (-1, 1), (0, 0), (0, 1), (2, 0)]
    assert measurements[0].image_fault
    assert measurements[4].tokens > 0
