from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mllm.engine.collator import Collator
from mllm.types import Sample, Skipped

ids_lists = st.lists(st.lists(st.integers(4, 31), min_size=1, max_size=12), min_size=1, max_size=5)


def text_sample(ids, index=0, labels=None):
    return Sample(ids, ids if labels is None else labels, None, index)


def test_right_padding_to_learn(preprocessor):
    batch = Collator(preprocessor, 'right', training=True)(
        [text_sample([1, 5, 2], labels=[-100, 5, 2]), text_sample([1])]
    )
    assert batch['input_ids'].tolist() == [[1, 5, 2], [1, 0, 0]]
    assert batch['attention_mask'].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch['labels'].tolist() == [[-100, 5, 2], [1, -100, -100]]
    assert 'samples' not in batch


def test_left_padding_to_generate(preprocessor):
    samples = [text_sample([1, 5, 2], labels=[]), text_sample([1], labels=[])]
    batch = Collator(preprocessor, 'left', training=False)(samples)
    assert batch['input_ids'].tolist() == [[1, 5, 2], [0, 0, 1]]
    assert batch['attention_mask'].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch['samples'] == samples
    assert 'labels' not in batch


@given(ids_lists, st.sampled_from(['left', 'right']))
def test_the_mask_gives_back_the_rows(preprocessor, rows, side):
    batch = Collator(preprocessor, side, training=True)([text_sample(ids, i) for i, ids in enumerate(rows)])
    for i, ids in enumerate(rows):
        mask = batch['attention_mask'][i].bool()
        assert batch['input_ids'][i][mask].tolist() == ids
        assert batch['labels'][i][mask].tolist() == ids
        assert (batch['labels'][i][~mask] == -100).all()
        assert mask[0 if side == 'right' else -1]


def test_images_of_the_batch_are_collated_in_order(preprocessor, tiny):
    samples = [tiny.dataset(3)[0, index] for index in range(3)]
    batch = Collator(preprocessor, 'right', training=True)(samples)
    assert torch.equal(batch['pixel_values'], torch.cat([samples[1].images, samples[2].images]))
    assert 'pixel_values' not in Collator(preprocessor, 'right', training=True)(samples[:1])


def test_swapped_images_are_an_error_that_names_both_samples(preprocessor, tiny):
    one, two = tiny.dataset(3)[0, 1], tiny.dataset(3)[0, 2]
    swapped = [replace(one, images=two.images), replace(two, images=one.images)]
    with pytest.raises(ValueError, match=r'sample 1: 2 images and 4 image tokens.* 1 images of \[4\]') as error:
        Collator(preprocessor, 'right', training=True)(swapped)
    assert 'sample 2: 1 images and 8 image tokens' in str(error.value)


@pytest.mark.parametrize(
    ('ids', 'filled'), [([1, 5], []), ([3], [1]), ([3, 3, 5], [2]), ([3, 3, 3, 3], [2, 2]), ([1, 3, 5, 3, 3], [1, 2])]
)
def test_image_tokens_must_be_as_many_as_the_images_fill(preprocessor, ids, filled):
    collator = Collator(preprocessor, 'right', training=True)
    for images in range(4):
        sample = Sample(ids, ids, torch.zeros(images, 3, 32, 32) if images else None, 5, image_tokens=filled)
        if images == len(filled):
            assert len(collator([sample]).get('pixel_values', [])) == images
        else:
            with pytest.raises(ValueError, match=f'sample 5: {images} images and {ids.count(3)} image tokens'):
                collator([sample])
    with pytest.raises(ValueError, match='sample 5'):
        collator([Sample([*ids, 3], [*ids, 3], torch.zeros(len(filled), 3, 32, 32), 5, image_tokens=filled)])


@pytest.mark.parametrize('side', ['left', 'right'])
def test_inputs_per_token_are_padded_like_the_ids(preprocessor, side):
    typed = replace(preprocessor, token_inputs=lambda ids: {'token_type_ids': [int(token == 5) for token in ids]})
    batch = Collator(typed, side, training=True)([text_sample([1, 5, 2]), text_sample([5])])
    assert batch['token_type_ids'].tolist() == [[0, 1, 0], [0, 0, 1] if side == 'left' else [1, 0, 0]]


def test_labels_of_another_length_are_an_error(preprocessor):
    with pytest.raises(ValueError, match='sample 9: 0 labels for 2 tokens'):
        Collator(preprocessor, 'right', training=True)([text_sample([1, 5], index=9, labels=[])])


def test_skipped_samples_are_left_out_and_their_reasons_kept(preprocessor):
    good = text_sample([1, 5])
    good.meta['skipped'] = ['a.jsonl:3: no image']
    batch = Collator(preprocessor, 'right', training=True)([Skipped(4, 'b.jsonl:4: bad box'), None, good])
    assert batch['input_ids'].tolist() == [[1, 5]]
    assert batch['skipped'] == ['b.jsonl:4: bad box', 'a.jsonl:3: no image']
    assert 'skipped' not in Collator(preprocessor, 'right', training=True)([text_sample([1, 5])])
    with pytest.raises(ValueError, match=r'no sample of the batch is left.*bad box'):
        Collator(preprocessor, 'right', training=True)([Skipped(4, 'bad box')])


def test_wrong_settings(preprocessor):
    with pytest.raises(ValueError, match="padding_side is 'top'"):
        Collator(preprocessor, 'top', training=True)  # type: ignore[arg-type]
    preprocessor.tokenizer.pad_token, kept = None, preprocessor.tokenizer.pad_token
    try:
        with pytest.raises(ValueError, match='no pad token'):
            Collator(preprocessor, 'right', training=True)
    finally:
        preprocessor.tokenizer.pad_token = kept
