"""EDSR: the residual network that is the teacher in most distillation papers.

[EDSR] Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
arXiv 1707.02921. Key names are BasicSR's, whose body convolution is a module of its own, so that
a shallower student's keys are a subset of the whole one's.
"""

from __future__ import annotations

from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.limits import BLOCKS
from trainables.networks.blocks import conv3x3
from trainables.networks.residual import OneScaleConfig, ResidualSRNet


def _usual_res_scale(fields: dict[str, Any]) -> float:
    wide_or_deep = fields.get("features", 64) >= 128 or fields.get("blocks", 16) >= 32
    return 0.1 if wide_or_deep else 1.0


class EDSRConfig(OneScaleConfig):
    """EDSR of any width and depth; teacher 256/32, [DFSR]'s student 128/32, DUKD's 64/32."""

    name: Literal["edsr"]
    blocks: int = Field(default=16, ge=1, le=BLOCKS)
    """Depth: residual blocks of two convolutions; 16 in [EDSR]'s baseline, 32 in the large one."""
    res_scale: float = Field(default_factory=_usual_res_scale, gt=0.0)
    """Factor of a block's residual; it is not in weights files. [EDSR]: 0.1 for 256 features, 1 for
    the baseline 64/16. Default: 0.1 from 128 features or 32 blocks on (CSD's 64/32 is a slice of a
    0.1 teacher; DUKD does not give it), else 1."""

    @property
    def convolutions(self) -> int:
        """Number of 3x3 convolutions in the body: two in each block."""
        return 2 * self.blocks


class ResidualBlock(nn.Module):
    """One unit of EDSR's body: x + res_scale * conv(relu(conv(x)))."""

    def __init__(self, features: int, res_scale: float) -> None:
        super().__init__()
        self.conv1 = conv3x3(features, features)
        self.conv2 = conv3x3(features, features)
        self.res_scale = res_scale

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B F H W to B F H W."""
        residual_BFHW: Tensor = self.conv2(torch.relu_(self.conv1(x_BFHW)))
        return torch.add(x_BFHW, residual_BFHW, alpha=self.res_scale)


@final
class EDSR(ResidualSRNet):
    """Residual blocks without normalisation, between a skip, enlarged by pixel shuffle."""

    config: EDSRConfig
    config_class = EDSRConfig

    def __init__(self, config: EDSRConfig) -> None:
        blocks = range(config.blocks)
        super().__init__(config, (ResidualBlock(config.features, config.res_scale) for _ in blocks))

    def last_convolution(self, unit: nn.Module) -> nn.Conv2d:
        """Return the second convolution of a residual block."""
        assert isinstance(unit, ResidualBlock)
        return unit.conv2
