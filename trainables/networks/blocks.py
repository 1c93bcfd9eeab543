"""Parts that the RGB networks share: colours around zero, pixel-shuffle, torch's own start."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean RGB of DIV2K's training images, which EDSR, RCAN and SwinIR subtract; range [0, 1]."""


class Colours(nn.Module):
    """Images in [0, 1] to and from what a body computes on: `(x - mean) * img_range`.

    The mean is a buffer that stays out of the state dict, as no file of ours or BasicSR's has it.
    """

    mean: Tensor

    def __init__(self, img_range: float) -> None:
        super().__init__()
        self.img_range = img_range
        mean = torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, rgb_B3HW: Tensor) -> Tensor:
        """What the network's first convolution sees."""
        return (rgb_B3HW - self.mean) * self.img_range

    def back(self, x_B3HW: Tensor) -> Tensor:
        """What the network's last convolution gives, as an image in [0, 1]."""
        return x_B3HW / self.img_range + self.mean


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution with bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def upsampler(features: int, scale: int) -> nn.Sequential:
    """F H W to F (scale H) (scale W) by pixel shuffle; x4 is x2 twice.

    The convolutions stand at numbers 0 and 2, as all official files have them.
    """
    steps = [2, 2] if scale == 4 else [scale]
    parts: list[nn.Module] = []
    for step in steps:
        parts += [conv3x3(features, step**2 * features), nn.PixelShuffle(step)]
    return nn.Sequential(*parts)


@torch.no_grad()
def start_as_torch_does(module: nn.Conv2d, generator: torch.Generator) -> None:
    """Weights and biases uniform within 1/sqrt(fan in): torch's default, from a given stream."""
    bound = 1.0 / math.sqrt(module.weight[0].numel())
    module.weight.uniform_(-bound, bound, generator=generator)
    if module.bias is not None:
        module.bias.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def silence(module: nn.Conv2d) -> None:
    """Make a convolution give zero, so that the skip around it passes everything."""
    module.weight.zero_()
    if module.bias is not None:
        module.bias.zero_()
