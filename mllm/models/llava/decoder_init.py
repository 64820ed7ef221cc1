"""Stage 9 of a sample's way, before training: how a small LFM2 decoder has to start so that it can match images.

An LFM2 short convolution computes `out_proj(C(t) * conv(B(t) * x(t)))` with B, C, x three linear maps of the token.
Drawn at random, the gate C at a label's token is a function of that random label: it flips the signs of the image
channels that the convolution carries into the token, differently for every label. Two labelled images then share no
direction that attention could compare, and training stays at chance for as long as it was tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.models.lfm2.modeling_lfm2 import Lfm2Attention, Lfm2ShortConv

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GATE_SCALE = 0.1


@torch.no_grad()
def open_gates_(text_model: PreTrainedModel) -> None:
    """Initialise an LFM2 decoder (d = hidden size, K = `conv_L_cache`) in place, gates open.

    embeddings         normal with std d ** -0.5
    conv kernels       constant K ** -0.5: a label's token receives its image, whatever the distance below K
    in_proj.weight     the 2d rows of the gates B and C scaled by 0.1 ...
    in_proj.bias       ... and 1 for them, so that gates start near 1; 0 for the d rows of x
    k_proj             a copy of q_proj: equal tokens attend to each other from the first step

    Rows of x in `in_proj.bias` have to stay 0 (freeze it by name): padding is set to zero before `in_proj`, so with a
    bias there padding on the left would enter the convolution. ValueError if `text_model` has no LFM2 convolution or
    its convolutions have no bias.
    """
    convolutions = [module for module in text_model.modules() if isinstance(module, Lfm2ShortConv)]
    if not convolutions:
        raise ValueError(
            f"open_gates_ initialises LFM2 decoders with 'conv' layers, and {type(text_model).__name__} has none; "
            "set text_config.model_type='lfm2' with 'conv' among its layer_types, or drop the option"
        )
    if not all(conv.bias for conv in convolutions):
        raise ValueError('open_gates_ needs the bias of the LFM2 convolutions; set text_config.conv_bias=True')
    width = text_model.config.get_text_config().hidden_size
    for parameter in text_model.get_input_embeddings().parameters():
        nn.init.normal_(parameter, std=width**-0.5)
    for conv in convolutions:
        gates = 2 * conv.in_proj.in_features
        conv.conv.weight.fill_(conv.conv_kernel_size**-0.5)
        conv.in_proj.weight[:gates] *= GATE_SCALE
        conv.in_proj.bias[:gates] = 1.0
        conv.in_proj.bias[gates:] = 0.0
    for module in text_model.modules():
        if isinstance(module, Lfm2Attention):
            copy_queries_to_keys_(module)


def copy_queries_to_keys_(attention: Lfm2Attention) -> None:
    """Set `k_proj` to `q_proj`; with fewer key heads than query heads, to the first query head of each group."""
    query, key = attention.q_proj.weight, attention.k_proj.weight
    groups = query.view(-1, attention.num_key_value_groups, attention.head_dim, query.shape[1])
    key.copy_(groups[:, 0].reshape(key.shape))
