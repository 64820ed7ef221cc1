"""Which token looks at which image, and what a cache keeps of it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mllm.models.flamingo.cross_attention import GatedCrossAttentionBlock, conditioning, join_media

rows_of_ids = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(rows_of_ids, st.booleans(), st.integers(0, 2))
def test_a_token_looks_at_the_last_image_or_at_all_before_it(rows: list[list[bool]], immediate: bool, spare: int):
    times = torch.tensor(rows).long().cumsum(1)
    counts = times[:, -1]
    images, latents = int(counts.max()) + spare, 2
    media = torch.zeros(len(rows), max(images, 1), latents, 4)
    found = conditioning(media, times, counts, immediate)
    for row, seen in enumerate(times.tolist()):
        for token, time in enumerate(seen):
            looks = found.mask[row, 0, token].tolist()
            wanted = [
                (image == time if immediate else image <= time)
                for image in range(1, media.shape[1] + 1)
                for _ in range(latents)
            ]
            assert bool(found.sees[row, token]) == (time > 0)
            # A token without an image looks everywhere, and what it sees is taken as nothing.
            assert looks == (wanted if time else [True] * len(looks))


def test_a_token_beyond_the_last_image_looks_at_all_of_its_own_row():
    found = conditioning(torch.zeros(2, 3, 1, 4), torch.tensor([[3, 4], [1, 2]]), torch.tensor([3, 1]), True)
    assert found.evenly[..., 0].tolist() == [[False, True], [False, True]]
    assert found.mask[:, 0].tolist() == [[[False, False, True], [True] * 3], [[True, False, False]] * 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4))
def test_images_of_a_row_stand_one_after_the_other(counts: list[tuple[int, int]]):
    old, new = torch.zeros(len(counts), 3, 1, 1), torch.zeros(len(counts), 3, 1, 1)
    for row, (kept, more) in enumerate(counts):
        old[row, :kept, 0, 0] = torch.arange(1, kept + 1)
        new[row, :more, 0, 0] = torch.arange(11, more + 11)
    joined = join_media(old, torch.tensor([kept for kept, _ in counts]), new)[..., 0, 0]
    for row, (kept, more) in enumerate(counts):
        assert joined[row, : kept + more].tolist() == [*range(1, kept + 1), *range(11, more + 11)]


def test_a_new_block_changes_nothing():
    block = GatedCrossAttentionBlock(8, 4, 2, 4, 4)
    given_images = conditioning(torch.randn(1, 2, 3, 4), torch.tensor([[0, 1, 2]]), torch.tensor([2]), True)
    text = torch.randn(1, 3, 8)
    assert torch.equal(block(text, given_images), text)
