"""Compact (SRVGGNet): the small network of Real-ESRGAN that most published fast models use.

[Compact] Wang et al., "Real-ESRGAN", ICCVW 2021, arXiv 2107.10833; its network `SRVGGNetCompact`.
Key names are those of the released files, one flat list of convolutions and PReLUs, except for the
list's name: theirs is `body`, which is here the units of distillation; ours is `layers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.limits import BLOCKS
from trainables.networks.base import Keeper, SRNet, Tap
from trainables.networks.blocks import conv3x3, start_as_torch_does
from trainables.networks.residual import OneScaleConfig
from trainables.values import Trace

_FIRST_SLOPE = 0.25
"""Torch's initial slope of a PReLU."""


class CompactConfig(OneScaleConfig):
    """Compact of any width and depth; Real-ESRGAN releases 64/16 and 64/32."""

    name: Literal["compact"]
    blocks: int = Field(default=16, ge=1, le=BLOCKS)
    """Depth: units of a 3x3 convolution and a PReLU between the first and the last convolution."""


@final
class Compact(SRNet):
    """Convolutions and PReLUs on the LR grid, pixel shuffle, plus the nearest-neighbour image.

    RGB in [0, 1], without mean shift. Only the last layer upsamples, so no convolution runs at the
    size of the output.
    """

    colour = "rgb"
    multiple_of = 1
    config: CompactConfig
    config_class = CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        features = config.features
        layers: list[nn.Module] = [conv3x3(3, features), nn.PReLU(features)]
        for _ in range(config.blocks):
            layers += [conv3x3(features, features), nn.PReLU(features)]
        layers.append(conv3x3(features, 3 * config.scale**2))
        self.layers = nn.ModuleList(layers)
        # Views of the same modules, outside of torch's registry, so that no key occurs twice.
        pairs = zip(layers[0:-1:2], layers[1:-1:2], strict=True)
        first, *units = (nn.Sequential(*pair) for pair in pairs)
        self.__dict__["_views"] = (first, nn.ModuleList(units), layers[-1])

    @property
    def head(self) -> nn.Module:
        """The first convolution and its PReLU."""
        head: nn.Module = self.__dict__["_views"][0]
        return head

    @property
    def body(self) -> nn.ModuleList:
        """The inner units, each a convolution and a PReLU."""
        body: nn.ModuleList = self.__dict__["_views"][1]
        return body

    @property
    def tail(self) -> nn.Module:
        """The last convolution, to 3 scale^2 channels."""
        tail: nn.Module = self.__dict__["_views"][2]
        return tail

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """Compute `SRNet.trace` for all images together."""
        times = self.chosen_scale(scale)
        keep = Keeper(taps, lr_BCHW)
        features_BFHW = self.run_body(self.head(lr_BCHW), keep, active)
        keep("after_skip", keep("before_skip", features_BFHW))
        residual_BCHW = F.pixel_shuffle(self.tail(features_BFHW), times)
        nearest_BCHW = F.interpolate(lr_BCHW, scale_factor=times, mode="nearest")
        return Trace(nearest_BCHW + residual_BCHW, keep.kept())

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Initialise every convolution and PReLU by torch's default, as in the released code."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                start_as_torch_does(module, generator)
            elif isinstance(module, nn.PReLU):
                module.weight.fill_(_FIRST_SLOPE)

    @torch.no_grad()
    def near_identity(self, first: int) -> None:
        """Set units from `first` on to Dirac kernels and slopes of 1: they return their input."""
        for unit in self.body[first:]:
            assert isinstance(unit, nn.Sequential)
            convolution, activation = unit
            assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
            assert isinstance(activation, nn.PReLU)
            nn.init.dirac_(convolution.weight)
            convolution.bias.zero_()
            activation.weight.fill_(1.0)
