"""Stage 3 of the small pretrained model: the ImageNet weights of EfficientNet-Lite0 -> a Hugging Face folder.

Lite0 is EfficientNet-B0 with ReLU6 for swish and without squeeze-and-excitation. Hugging Face's class has these gates
always; weights of zero under a large bias make them exactly one, so the stock class computes Lite0.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor
from transformers import EfficientNetConfig, EfficientNetModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

OPEN_GATE = 100.0
"""Its sigmoid is 1 in every floating-point type."""
IMAGE_SIZE = 128
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

TOP = {
    '_conv_stem': 'embeddings.convolution',
    '_bn0': 'embeddings.batchnorm',
    '_conv_head': 'encoder.top_conv',
    '_bn1': 'encoder.top_bn',
}
BLOCK = {
    '_expand_conv': 'expansion.expand_conv',
    '_bn0': 'expansion.expand_bn',
    '_depthwise_conv': 'depthwise_conv.depthwise_conv',
    '_bn1': 'depthwise_conv.depthwise_norm',
    '_project_conv': 'projection.project_conv',
    '_bn2': 'projection.project_bn',
}
CLASSIFIER = '_fc'


def lite0_config(**changes: object) -> EfficientNetConfig:
    """EfficientNet-Lite0; `changes` make smaller ones of its kind."""
    values = {
        'image_size': IMAGE_SIZE,
        'width_coefficient': 1.0,
        'depth_coefficient': 1.0,
        'hidden_act': 'relu6',
        'hidden_dim': 1280,
        'hidden_size': 320,  # not EfficientNet's own: LLaVA asks every vision config for the width it reads
        **changes,
    }
    return EfficientNetConfig(**values)


def convert_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's names; the classifier is left out. ValueError that lists tensors without a place."""
    weights, unknown = {}, []
    for name, tensor in stored.items():
        block = re.fullmatch(r'_blocks\.(\d+)\.(\w+)\.(\w+)', name)
        part, _, kind = name.partition('.')
        if block and block[2] in BLOCK:
            weights[f'encoder.blocks.{block[1]}.{BLOCK[block[2]]}.{block[3]}'] = tensor
        elif part in TOP:
            weights[f'{TOP[part]}.{kind}'] = tensor
        elif part != CLASSIFIER:
            unknown.append(name)
    if unknown:
        raise ValueError(f'no place in an EfficientNet-Lite for {", ".join(unknown)}')
    return weights


@torch.no_grad()
def build_tower(stored: dict[str, Tensor], config: EfficientNetConfig) -> EfficientNetModel:
    """The tower in evaluation mode; ValueError for missing tensors and other shapes."""
    tower = EfficientNetModel(config)
    weights = convert_weights(stored)
    for name, parameter in tower.named_parameters():
        if '.squeeze_excite.' in name:
            bias = name.endswith('expand.bias')
            weights[name] = torch.full_like(parameter, OPEN_GATE if bias else 0.0)
    try:
        tower.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f'the weights are not those of this EfficientNet-Lite: {error}') from error
    return tower.eval()


def image_processor(side: int = IMAGE_SIZE) -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(
        size={'shortest_edge': side},
        crop_size={'height': side, 'width': side},
        image_mean=list(MEAN),
        image_std=list(STD),
    )


def convert(weights: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json to `folder`."""
    stored = torch.load(weights, map_location='cpu', weights_only=True)
    build_tower(stored, lite0_config()).save_pretrained(folder)
    image_processor().save_pretrained(folder)
