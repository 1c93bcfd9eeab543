"""A network of one number, so that an update can be worked out on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from trainables.methods import Setting
from trainables.networks.base import SRNet, SRNetConfig, Tap
from trainables.optimisers import OptimiserConfig
from trainables.values import Trace


class GainConfig(SRNetConfig):
    name: Literal["gain"] = "gain"
    features: int = 1
    blocks: int = 1
    scales: tuple[int, ...] = (1,)


class Gain(SRNet):
    """sr = w * x, of the size it is given."""

    colour = "y"
    multiple_of = 1

    def __init__(self, gain: float) -> None:
        super().__init__(GainConfig.model_construct(scales=(1,), blocks=1, features=1))
        self.weight = nn.Parameter(torch.tensor(gain))
        self.units = nn.ModuleList([nn.Identity()])

    @property
    def head(self) -> nn.Module:
        return self.units[0]

    @property
    def body(self) -> nn.ModuleList:
        return self.units

    @property
    def tail(self) -> nn.Module:
        return self.units[0]

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        return Trace(self.weight * lr_BCHW)

    def initialise(self, generator: torch.Generator) -> None:
        raise AssertionError("the Gain of a test has the weight that the test gave it")

    def near_identity(self, first: int) -> None:
        raise AssertionError("the Gain of a test does not grow")


@pytest.fixture
def gain_setting() -> Callable[..., Setting]:
    """`gain_setting(student=0.5, teacher=1.0, lr=0.1, ...)`: plain SGD on one number."""

    def make(student: float = 0.5, teacher: float = 1.0, **optimiser: Any) -> Setting:
        plain = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "clip": None, "schedule": None}
        return Setting(
            student=Gain(student),
            teacher=Gain(teacher).eval().requires_grad_(False),
            optimiser=OptimiserConfig(**{**plain, **optimiser}),
            steps=100,
            patch=8,
            seed=0,
            device=torch.device("cpu"),
        )

    return make
