"""The image generator of the data-free methods: it maps a latent vector to a small image.

[DFSR] Zhang et al., "Data-Free Knowledge Distillation for Image Super-Resolution", CVPR 2021,
supplementary material; shared by DFAD, DFSR and DFSR+CMI.
"""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.networks.base import channels_innermost

_WIDE, _NARROW = 128, 64


@final
class Generator(nn.Module):
    """Maps latent vectors z ~ N(0, I) to images B C size size in [0, 1].

    Args:
        latent: length of z.
        size: side of the images in pixels: 8, 12, 16, ...
        channels: colour channels of the images.

    Raises:
        ValueError: `size` is another.
    """

    def __init__(self, latent: int, size: int, channels: int) -> None:
        super().__init__()
        if size % 4 or size < 8:
            raise ValueError(f"a generator's images have a side of 8, 12, 16, ...; got {size}")
        self.latent = latent
        self.start = size // 4
        self.expand = nn.Linear(latent, _WIDE * self.start**2)
        self.norm0 = nn.InstanceNorm2d(_WIDE, affine=True)
        self.conv1 = nn.Conv2d(_WIDE, _WIDE, 3, padding=1)
        self.norm1 = nn.InstanceNorm2d(_WIDE, affine=True, eps=0.8)
        self.conv2 = nn.Conv2d(_WIDE, _NARROW, 3, padding=1)
        self.norm2 = nn.InstanceNorm2d(_NARROW, affine=True, eps=0.8)
        self.conv3 = nn.Conv2d(_NARROW, channels, 3, padding=1)

    def forward(self, z_BK: Tensor) -> Tensor:
        """Generate images B C size size in [0, 1] from latent vectors B K."""
        x_BFHW = self.expand(z_BK).view(-1, _WIDE, self.start, self.start)
        x_BFHW = _doubled(self.norm0(x_BFHW))
        x_BFHW = _doubled(F.leaky_relu_(self.norm1(self.conv1(x_BFHW)), 0.2))
        x_BFHW = F.leaky_relu_(self.norm2(self.conv2(x_BFHW)), 0.2)
        return (torch.tanh(self.conv3(x_BFHW)) + 1.0) / 2.0

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw He-normal weights, and biases uniform within +-1/sqrt(fan in), as released."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0.0, math.sqrt(2.0 / fan_in), generator=generator)
                bound = 1.0 / math.sqrt(fan_in)
                assert module.bias is not None
                module.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, nn.InstanceNorm2d):
                module.weight.fill_(1.0)
                module.bias.zero_()


def parameters_of(latent: int, size: int) -> int:
    """Return the number of weights in the first layer of a `Generator`.

    They are most of its parameters where it is large: 95 % with `latent` 256 and `size` 48.

    >>> parameters_of(256, 48) == Generator(256, 48, 1).expand.weight.numel()
    True
    """
    return latent * _WIDE * (size // 4) ** 2


def make_generator(latent: int, size: int, channels: int, randomness: torch.Generator) -> Generator:
    """Make a generator on the CPU and draw its parameters from `randomness`."""
    with torch.random.fork_rng(devices=[]):  # construction draws from the global stream
        network = Generator(latent, size, channels)
    network.initialise(randomness)
    return channels_innermost(network)


def _doubled(x_BFHW: Tensor) -> Tensor:
    return F.interpolate(x_BFHW, scale_factor=2.0, mode="nearest")
