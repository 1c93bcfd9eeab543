"""The common part of EDSR and RCAN: everything but the units of the body.

One convolution, a body of residual units, a closing convolution, a skip around both, pixel shuffle,
one convolution; on RGB in 0..255 minus DIV2K's mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.limits import FEATURES
from trainables.networks.base import Keeper, SRNet, SRNetConfig, Tap
from trainables.networks.blocks import Colours, conv3x3, silence, start_as_torch_does, upsampler
from trainables.values import Trace


class OneScaleConfig(SRNetConfig):
    """The configuration of a network whose upsampler serves one scale."""

    features: int = Field(default=64, ge=1, le=FEATURES)
    """Width: feature channels of the body."""
    scales: tuple[int, ...] = Field(strict=False, min_length=1)
    """The upscaling factor, 2, 3 or 4, as a list of one; `scale: s` is short for `scales: [s]`."""

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        if len(self.scales) != 1:
            rule = f"this network is made for one scale; got {list(self.scales)}: say scale: 2"
            raise ConfigError("scales", rule)
        return self

    @property
    def scale(self) -> int:
        """The upscaling factor."""
        return self.scales[0]


class ResidualSRNet(SRNet):
    """The base of EDSR and RCAN, without the units of the body; key names are BasicSR's."""

    colour = "rgb"
    multiple_of = 1
    config: OneScaleConfig

    def __init__(self, config: OneScaleConfig, units: Iterable[nn.Module]) -> None:
        super().__init__(config)
        features = config.features
        self.colours = Colours(img_range=255.0)
        self.conv_first = conv3x3(3, features)
        # add_module would find the property of that name and refuse.
        self._modules["body"] = nn.ModuleList(units)
        self.conv_after_body = conv3x3(features, features)
        self.upsample = upsampler(features, config.scale)
        self.conv_last = conv3x3(features, 3)

    @property
    def head(self) -> nn.Module:
        """The convolution that maps colours to features."""
        return self.conv_first

    @property
    def body(self) -> nn.ModuleList:
        """The residual units."""
        body = self._modules["body"]
        assert isinstance(body, nn.ModuleList)
        return body

    @property
    def tail(self) -> nn.Module:
        """The convolution that maps upsampled features to colours."""
        return self.conv_last

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        """Compute `SRNet.trace` for all images together."""
        self.chosen_scale(scale)
        shifted_BCHW = self.colours(lr_BCHW)
        # Under autocast skips are added in float32, which keeps small residuals.
        first_BFHW = self.conv_first(shifted_BCHW).to(shifted_BCHW.dtype)
        keep = Keeper(taps, lr_BCHW)
        features_BFHW = self.run_body(first_BFHW, keep, active)
        closed_BFHW = keep("before_skip", self.conv_after_body(features_BFHW))
        features_BFHW = keep("after_skip", first_BFHW + closed_BFHW)
        sr_BCHW = self.conv_last(self.upsample(features_BFHW))
        return Trace(self.colours.back(sr_BCHW), keep.kept())

    def initialise(self, generator: torch.Generator) -> None:
        """Initialise every convolution by torch's default, as in all released code."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                start_as_torch_does(module, generator)

    def near_identity(self, first: int) -> None:
        """Zero the last convolution of each unit from `first` on: only its skip remains."""
        for unit in self.body[first:]:
            silence(self.last_convolution(unit))

    @abstractmethod
    def last_convolution(self, unit: nn.Module) -> nn.Conv2d:
        """Return the convolution of a unit whose output is added to the unit's input."""
