"""Images are resampled each on its own, frames of a video together."""

import torch

from mllm.models.flamingo.resampler import PerceiverResampler


def test_an_image_is_resampled_alone_as_among_others():
    resampler = PerceiverResampler(8, depth=2, num_latents=3, heads=2, head_dim=4)
    tokens = torch.randn(2, 3, 1, 5, 8)
    together = resampler(tokens)
    assert together.shape == (2, 3, 3, 8)
    for row in range(2):
        for image in range(3):
            alone = resampler(tokens[row : row + 1, image : image + 1])
            torch.testing.assert_close(together[row, image], alone[0, 0], rtol=0, atol=1e-6)


def test_frames_are_told_apart_by_their_embeddings_alone():
    tokens = torch.randn(1, 1, 4, 5, 8)
    for frames, differs in ((None, False), (4, True)):
        resampler = PerceiverResampler(8, depth=1, num_latents=3, heads=2, head_dim=4, max_num_frames=frames)
        change = (resampler(tokens) - resampler(tokens.flip(2))).abs().max()
        assert (change > 1e-3) == differs
