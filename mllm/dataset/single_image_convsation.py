"""The historical import path of `SingleImageConvDataset` (the spelling is part of it)."""

from mllm.dataset.single_image_conversation import SingleImageConvDataset as SingleImageConvDataset
