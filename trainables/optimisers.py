"""Optimisers whose learning rate is a pure function of the step: a schedule has no state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trainables.values import Config, ConfigError


class ScheduleConfig(Config):
    """When the learning rate falls, in fractions of the trial's budget, and by how much."""

    at: float | Annotated[tuple[float, ...], Field(strict=False)] = 0.125
    """One number f in (0, 1]: at every multiple of f of the budget; a list: at just these
    fractions. [DFSR] on VDSR: every 10 of 80 epochs, 0.125."""
    factor: float = Field(default=0.1, gt=0.0, le=1.0)
    """What the rate is multiplied by each time. [DFSR]: 0.1."""

    @model_validator(mode="after")
    def _fractions(self) -> Self:
        fractions = (self.at,) if isinstance(self.at, float) else self.at
        if not fractions or not all(0.0 < fraction <= 1.0 for fraction in fractions):
            raise ConfigError("at", f"fractions of the budget lie in (0, 1]; got {self.at}")
        return self

    def factor_at(self, step: int, steps: int) -> float:
        """What the initial rate is multiplied by at `step` of a budget of `steps`.

        >>> ScheduleConfig(at=0.4, factor=0.1).factor_at(80, 100)
        0.010000000000000002
        """
        done = step / steps + 1e-9  # a milestone is reached at its own step, rounding or not
        if isinstance(self.at, float):
            return float(self.factor ** math.floor(done / self.at))
        return float(self.factor ** sum(fraction <= done for fraction in self.at))


class OptimiserConfig(Config):
    """How the student is updated; the defaults are VDSR's, from pytorch-vdsr and [DFSR]."""

    name: Literal["sgd", "adam"] = "sgd"
    """`sgd` with momentum for VDSR; `adam` for the RGB networks."""
    lr: float = Field(default=0.1, gt=0.0)
    """Initial learning rate. [DFSR]: 0.1 with sgd on VDSR, 1e-4 with adam on EDSR."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Of `sgd`; 0.9 everywhere."""
    betas: tuple[float, float] = Field(default=(0.9, 0.999), strict=False)
    """Of `adam`."""
    weight_decay: float = Field(default=1e-4, ge=0.0)
    """1e-4 for VDSR; 0 for the RGB networks."""
    clip: float | None = Field(default=0.4, gt=0.0)
    """Largest norm of the whole gradient; pytorch-vdsr: 0.4, which, with a summed loss, is always
    exceeded and so sets the size of every update. null: no clipping."""
    schedule: ScheduleConfig | None = ScheduleConfig()
    """null: a constant rate."""

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate for update number `step` (from 0) of a budget of `steps`."""
        return self.lr * (self.schedule.factor_at(step, steps) if self.schedule else 1.0)


class Optimiser:
    """A torch optimiser over all parameters of a network, with clipping and its schedule.

    It always holds every parameter: those that took no part in the loss have no gradient and are
    left alone, momentum and weight decay included. So its state keeps one shape while a student
    grows.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], config: OptimiserConfig, steps: int
    ) -> None:
        self.config = config
        self.steps = steps
        self.parameters = list(parameters)
        self.lr = config.lr

    @cached_property
    def inner(self) -> torch.optim.Optimizer:
        """Torch's own, made when first needed: torch takes a second to import what it might use."""
        config = self.config
        if config.name == "sgd":
            return torch.optim.SGD(
                self.parameters,
                lr=config.lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
        return torch.optim.Adam(
            self.parameters,
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )

    def update(self, loss: Tensor, step: int) -> None:
        """One descent of `loss` at the rate of update number `step`, from 0."""
        descend(loss, step, self)

    def follow_gradients(self, step: int) -> None:
        """One update along the gradients that are there."""
        self.lr = self.config.lr_at(step, self.steps)
        for group in self.inner.param_groups:
            group["lr"] = self.lr
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.inner.step()

    def clear_gradients(self) -> None:
        """Forget every gradient."""
        self.inner.zero_grad(set_to_none=True)

    def restart(self) -> None:
        """Forget momentum and moments, as a new optimiser would."""
        self.inner.state.clear()

    def state_dict(self) -> dict[str, Any]:
        """Momentum, moments and counts."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue from `state_dict`."""
        self.inner.load_state_dict(state_dict)


def descend(loss: Tensor, step: int, *optimisers: Optimiser) -> None:
    """One descent of `loss` by the parameters of all `optimisers`, at update number `step`."""
    for optimiser in optimisers:
        optimiser.clear_gradients()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    for optimiser in optimisers:
        optimiser.follow_gradients(step)
