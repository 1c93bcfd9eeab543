"""Layers that RGB networks share: mean shift, pixel-shuffle upsampling, initialisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean RGB of DIV2K's training images, which EDSR, RCAN and SwinIR subtract; range [0, 1]."""


class Colours(nn.Module):
    """Converts images in [0, 1] to a network's internal range, `(x - mean) * img_range`, and back.

    The mean is a buffer outside of the state dict, since neither our files nor BasicSR's have it.
    """

    mean: Tensor

    def __init__(self, img_range: float) -> None:
        super().__init__()
        self.img_range = img_range
        mean = torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, rgb_B3HW: Tensor) -> Tensor:
        """Convert images in [0, 1] to the input of the network's first convolution."""
        return (rgb_B3HW - self.mean) * self.img_range

    def back(self, x_B3HW: Tensor) -> Tensor:
        """Convert the output of the network's last convolution to images in [0, 1]."""
        return x_B3HW / self.img_range + self.mean


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """Make a 3x3 convolution with bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def upsampler(features: int, scale: int) -> nn.Sequential:
    """Make an upsampler by pixel shuffle, F H W to F (scale H) (scale W); x4 is x2 twice.

    The convolutions have numbers 0 and 2, as in all official files.
    """
    steps = [2, 2] if scale == 4 else [scale]
    parts: list[nn.Module] = []
    for step in steps:
        parts += [conv3x3(features, step**2 * features), nn.PixelShuffle(step)]
    return nn.Sequential(*parts)


@torch.no_grad()
def start_as_torch_does(module: nn.Conv2d, generator: torch.Generator) -> None:
    """Draw weights and biases uniformly within 1/sqrt(fan in), as torch does, from `generator`."""
    bound = 1.0 / math.sqrt(module.weight[0].numel())
    module.weight.uniform_(-bound, bound, generator=generator)
    if module.bias is not None:
        module.bias.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def silence(module: nn.Conv2d) -> None:
    """Zero a convolution, so that only the skip around it remains."""
    module.weight.zero_()
    if module.bias is not None:
        module.bias.zero_()
