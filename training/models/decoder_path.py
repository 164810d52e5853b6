"""The last step of the decoder, made so that a picture's colours come through it unchanged.

The last group norm takes the mean of each of its 32 groups of channels away, over the whole
picture. With one channel a group (ch 32) nothing is left of an even background: a decoder then
hides its tone in frames and specks. Here the finest level has three channels a group and holds
(s, -s, K) for one signal s and a constant K. Mean and variance then are the same for every
picture, and what follows is a network on single pixels. As silu(s) - silu(-s) = s, it starts as a
linear map. The residual branches of that level stay zero.
"""

import torch
from torch import nn

from training.models.vqgan import Decoder

CONSTANT = 20.0
SIGNALS = 32


@torch.no_grad()
def prepare(decoder: Decoder) -> list[nn.Parameter]:
    """Set up the finest level of `decoder`, whose branches need no computing while it trains.

    Returns:
        The parameters that training must leave as they are.
    """
    level = decoder.up[0]
    for block in level.block:
        block.silent = True
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
    shortcut = level.block[0].nin_shortcut
    one = torch.eye(SIGNALS)
    groups = torch.stack((one, -one, torch.zeros_like(one)), dim=1).flatten(0, 1)
    shortcut.weight.copy_(groups[:, :, None, None])
    shortcut.bias.copy_(torch.tensor([0.0, 0.0, CONSTANT]).repeat(SIGNALS))
    decoder.norm_out.weight.fill_(CONSTANT * 2**0.5 / 3)
    decoder.norm_out.bias.fill_(CONSTANT / 3)
    decoder.norm_out.weight[2::3] = 0
    decoder.norm_out.bias[2::3] = 0
    out = decoder.conv_out.weight
    out[:, 1::3] = -out[:, 0::3]
    return list(level.parameters()) if not hasattr(level, "upsample") else []
