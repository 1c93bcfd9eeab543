"""VDSR: the luma network of the data-free papers.

[VDSR] Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
CVPR 2016, arXiv 1511.04587. Key names and initialisation follow twtygqyy/pytorch-vdsr, the base
on which DFSR was built: no biases, and every convolution starts at N(0, sqrt(2 / (9 c_out))).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.limits import BLOCKS, FEATURES
from trainables.networks.base import Keeper, SRNet, SRNetConfig, Tap
from trainables.resample import upsample_BCHW
from trainables.values import Trace


class VDSRConfig(SRNetConfig):
    """VDSR of any width and depth; the papers' teacher is 64/18, their student 32/18."""

    name: Literal["vdsr"]
    features: int = Field(default=64, ge=1, le=FEATURES)
    """Width: 64 in [VDSR], 32 for DFSR's student."""
    blocks: int = Field(default=18, ge=1, le=BLOCKS)
    """Depth: inner conv + ReLU units, 18 in [VDSR] (20 layers with the outer two)."""
    scales: tuple[int, ...] = Field(default=(2, 3, 4), strict=False, min_length=1)
    """Upscaling factors served by one set of parameters; [VDSR] trains all three."""

    @model_validator(mode="before")
    @classmethod
    def _depth_in_layers_is_a_mistake(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "layers" in raw:
            raise ConfigError("layers", "unknown key; say blocks (a 20-layer VDSR has 18)")
        return raw


class ConvReLU(nn.Module):
    """One unit of VDSR's body: a 3x3 convolution without bias, and a ReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = _conv(features, features)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B F H W to B F H W, not negative."""
        return torch.relu_(self.conv(x_BFHW))


@final
class VDSR(SRNet):
    """VDSR: bicubic upsampling, plus a residual predicted from it."""

    colour = "y"
    multiple_of = 1
    config: VDSRConfig
    config_class = VDSRConfig

    def __init__(self, config: VDSRConfig) -> None:
        super().__init__(config)
        self.input = _conv(1, config.features)
        self.residual_layer = nn.ModuleList(ConvReLU(config.features) for _ in range(config.blocks))
        self.output = _conv(config.features, 1)

    @property
    def head(self) -> nn.Module:
        """The convolution that maps luma to features."""
        return self.input

    @property
    def body(self) -> nn.ModuleList:
        """The inner conv + ReLU units."""
        return self.residual_layer

    @property
    def tail(self) -> nn.Module:
        """The convolution that maps features to the residual."""
        return self.output

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """Compute `SRNet.trace`; with `scale=1`, `lr_BCHW` is already upsampled.

        The upsampled image is clamped to [0, 1], in training and evaluation: the released DFSR
        does so between generator and networks, and no published score changes by it.
        """
        times = 1 if scale == 1 else self.chosen_scale(scale)
        up_BCHW = upsample_BCHW(lr_BCHW, times).clamp(0.0, 1.0)
        features_BFHW = torch.relu_(self.input(up_BCHW))
        keep = Keeper(taps, up_BCHW)
        features_BFHW = self.run_body(features_BFHW, keep, active)
        keep("after_skip", keep("before_skip", features_BFHW))
        return Trace(up_BCHW + self.output(features_BFHW), keep.kept())

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw every convolution from N(0, sqrt(2 / (9 c_out))), as released."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                deviation = math.sqrt(2.0 / (9 * module.out_channels))
                module.weight.normal_(0.0, deviation, generator=generator)

    @torch.no_grad()
    def near_identity(self, first: int) -> None:
        """Set units from `first` on to Dirac kernels: on a ReLU's output they change nothing."""
        for unit in self.residual_layer[first:]:
            assert isinstance(unit, ConvReLU)
            nn.init.dirac_(unit.conv.weight)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
