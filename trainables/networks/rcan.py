"""RCAN: a very deep residual network with channel attention.

[RCAN] Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
ECCV 2018, arXiv 1807.02758. Key names are BasicSR's. Deviations: none; the released code's
`res_scale` of 1 is used nowhere and left out.
"""

from __future__ import annotations

from typing import Literal, final

from pydantic import Field
from torch import Tensor, nn

from trainables.limits import BLOCKS
from trainables.networks.blocks import conv3x3
from trainables.networks.residual import OneScaleConfig, ResidualSRNet


class RCANConfig(OneScaleConfig):
    """RCAN of any width and depth; teacher 64 wide, 10 x 20 deep; DUKD's student 64, 10 x 6."""

    name: Literal["rcan"]
    groups: int = Field(default=10, ge=1, le=BLOCKS)
    """Depth: residual groups, the units of progressive distillation; 10 in [RCAN]."""
    blocks: int = Field(default=20, ge=1, le=BLOCKS)
    """Residual channel attention blocks in each group; 20 in [RCAN], 6 in DUKD's and FAKD's
    student."""
    reduction: int = Field(default=16, ge=1)
    """Features per channel of the attention's bottleneck, which has one at least; 16 in [RCAN]."""

    @property
    def units(self) -> int:
        """Number of residual groups, the units of the body."""
        return self.groups

    @property
    def convolutions(self) -> int:
        """Number of 3x3 convolutions in the body: two in each block, one at each group's end."""
        return self.groups * (2 * self.blocks + 1)


class ChannelAttention(nn.Module):
    """Weights each channel by a function of all channels' means over the whole image."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        squeezed = max(features // reduction, 1)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(features, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, features, 1),
            nn.Sigmoid(),
        )

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B F H W to B F H W."""
        weight_BF11: Tensor = self.attention(x_BFHW)
        return x_BFHW * weight_BF11


class AttentionBlock(nn.Module):
    """RCAB: x + attention(conv(relu(conv(x))))."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.rcab = nn.Sequential(
            conv3x3(features, features),
            nn.ReLU(inplace=True),
            conv3x3(features, features),
            ChannelAttention(features, reduction),
        )

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B F H W to B F H W."""
        residual_BFHW: Tensor = self.rcab(x_BFHW)
        return x_BFHW + residual_BFHW


class ResidualGroup(nn.Module):
    """One unit of RCAN's body: attention blocks and a convolution, inside a skip."""

    def __init__(self, config: RCANConfig) -> None:
        super().__init__()
        features, reduction = config.features, config.reduction
        blocks = (AttentionBlock(features, reduction) for _ in range(config.blocks))
        self.residual_group = nn.Sequential(*blocks)
        self.conv = conv3x3(features, features)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """B F H W to B F H W."""
        residual_BFHW: Tensor = self.conv(self.residual_group(x_BFHW))
        return x_BFHW + residual_BFHW


@final
class RCAN(ResidualSRNet):
    """Residual groups of residual blocks with channel attention, enlarged by pixel shuffle."""

    config: RCANConfig
    config_class = RCANConfig

    def __init__(self, config: RCANConfig) -> None:
        super().__init__(config, (ResidualGroup(config) for _ in range(config.groups)))

    def last_convolution(self, unit: nn.Module) -> nn.Conv2d:
        """Return the convolution at the end of a residual group."""
        assert isinstance(unit, ResidualGroup)
        return unit.conv
