"""Optimisers with clipping, whose learning rate is a pure function of the step, without state.

[AdamW] Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv 1711.05101.
[SGDR] Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
arXiv 1608.03983: the cosine.
[Warm-up] Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017,
arXiv 1706.02677.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from trainables.errors import ConfigError
from trainables.replay import Results
from trainables.values import Config


class ScheduleConfig(Config):
    """Schedule of the learning rate, in fractions of the trial's budget."""

    kind: Literal["step", "cosine", "constant"] = "step"
    """`step`: the rate is multiplied by `factor` at the fractions `at`. `cosine`: it falls to 0
    along half a cosine, [SGDR] with eta_min = 0, which begins where the warm-up ends. `constant`:
    it does not fall. Only `step` uses `at` and `factor`. [DFSR], [DUKD], [FAKD] and [CSD]: step."""
    at: float | Annotated[tuple[float, ...], Field(strict=False)] = 0.125
    """Fractions in (0, 1] at which the rate is multiplied: a number f: every multiple of f; a list:
    exactly these. [DFSR] on VDSR: every 10 of 80 epochs, 0.125."""
    factor: float = Field(default=0.1, gt=0.0, le=1.0)
    """Multiplier of the learning rate at each of the fractions `at`; [DFSR]: 0.1."""
    warmup: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction in [0, 1), of the budget or of each part that restarts the schedule, over which the
    rate rises linearly to `optimiser.lr` ([Warm-up]: 5 of 90 epochs); 0, as in the methods' papers:
    none. Applies to every kind."""

    @model_validator(mode="after")
    def _fractions(self) -> Self:
        fractions = (self.at,) if isinstance(self.at, float) else self.at
        if not fractions or not all(0.0 < fraction <= 1.0 for fraction in fractions):
            raise ConfigError("at", f"fractions of the budget lie in (0, 1]; got {self.at}")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serialise the fields, without `kind` and `warmup` where they were not given.

        So a configuration from before these fields existed is written as it was then, and still
        compares equal on resume.
        """
        unset = {"kind", "warmup"} - self.model_fields_set
        return {key: value for key, value in write(self).items() if key not in unset}

    def factor_at(self, step: int, steps: int, period: int | None = None) -> float:
        """Return the multiplier of the initial learning rate at update number `step`.

        Args:
            step: from 0, counted from the last restart if there was one.
            steps: the trial's budget, in updates, of which `at` has fractions.
            period: updates from one restart to the next, or to the end; the warm-up is a fraction
                of them, and the cosine reaches 0 after them. None, without restarts: `steps`.

        >>> ScheduleConfig(at=0.4, factor=0.1).factor_at(80, 100)
        0.010000000000000002
        >>> ScheduleConfig(kind="cosine", warmup=0.2).factor_at(60, 100)
        0.5
        """
        period = steps if period is None else period
        warmup = self.warmup * period
        # Update number `warmup` is the first at the full rate; number 0 has a rate above 0.
        rise = min(1.0, (step + 1) / (warmup + 1.0))
        if self.kind == "constant":
            return rise
        if self.kind == "cosine":
            fallen = max(0.0, step - warmup) / (period - warmup)
            return rise * (1.0 + math.cos(math.pi * fallen)) / 2.0
        done = step / steps + 1e-9  # rounding must not delay a milestone by a step
        if isinstance(self.at, float):
            return rise * float(self.factor ** math.floor(done / self.at))
        return rise * float(self.factor ** sum(fraction <= done for fraction in self.at))


class OptimiserConfig(Config):
    """Settings of an optimiser; the defaults are VDSR's, from pytorch-vdsr and [DFSR]."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """`sgd` with momentum for VDSR; `adam` for the RGB networks; `adamw`: Adam whose weight decay
    is decoupled from the gradient ([AdamW]), in none of the papers."""
    lr: float = Field(default=0.1, gt=0.0)
    """Initial learning rate. [DFSR]: 0.1 with sgd on VDSR, 1e-4 with adam on EDSR."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Momentum of `sgd`; 0.9 in every source."""
    betas: tuple[float, float] = Field(default=(0.9, 0.999), strict=False)
    """Decay rates of the first and second moments of `adam` and `adamw`."""
    weight_decay: float = Field(default=1e-4, ge=0.0)
    """Weight decay: 1e-4 for VDSR; 0 for the RGB networks; 0.01, torch's default, where `adamw` is
    named. `adamw` multiplies each parameter by 1 - lr * weight_decay; the others add weight_decay
    times the parameter to its gradient."""
    clip: float | None = Field(default=0.4, gt=0.0)
    """Largest L2 norm of the gradient of all parameters together; pytorch-vdsr: 0.4, which a summed
    loss always exceeds, so that it sets the size of every update. null: no clipping."""
    schedule: ScheduleConfig | None = ScheduleConfig()
    """Schedule of the learning rate; null: it is constant."""

    def lr_at(self, step: int, steps: int, period: int | None = None) -> float:
        """Return the learning rate of update number `step` (from 0) in a budget of `steps`.

        For the arguments see `ScheduleConfig.factor_at`.
        """
        return self.lr * (self.schedule.factor_at(step, steps, period) if self.schedule else 1.0)


class Optimiser:
    """Updates a set of parameters, with gradient clipping and a schedule of the learning rate.

    It calls torch's fused kernels as functions: the classes of `torch.optim` import torch's
    compiler with their first update, 800 modules and two seconds of every process.

    Parameters that took no part in the loss have no gradient and do not change, not by momentum or
    weight decay either. Its state has the same shape before and after a student grows.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], config: OptimiserConfig, steps: int
    ) -> None:
        self.config = config
        self.steps = steps
        self.parameters = list(parameters)
        self.lr = config.lr

    @cached_property
    def state(self) -> dict[Tensor, Results]:
        """Momentum, moments and counts of each parameter: zero at first, and updated in place."""
        return {each: moments_of(each, self.config) for each in self.parameters}

    @cached_property
    def rate(self) -> Tensor:
        """The learning rate as a tensor on the parameters' device, where recorded work reads it."""
        device = self.parameters[0].device
        # GPU kernels take a float32; on a CPU float64 keeps the exact value.
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        return torch.tensor(self.lr, dtype=dtype, device=device)

    def beside(self, parameters: Sequence[nn.Parameter], moments: Sequence[Results]) -> Optimiser:
        """Make an optimiser of other parameters at the rate of this one, continuing from `moments`.

        It may be made inside recorded work. `moments`, of the form that `moments_of` returns, are
        updated in place.
        """
        other = Optimiser(parameters, self.config, self.steps)
        other.rate = self.rate
        for parameter, given in zip(parameters, moments, strict=True):
            other.state[parameter] = given
        return other

    def begin(self, step: int, period: int | None = None) -> None:
        """Set the learning rate of an update, outside recorded work; the update may be recorded.

        Args:
            step: number of the update, from 0, counted from the schedule's last restart.
            period: updates from that restart to the next one or to the end; None: the budget.
        """
        lr = self.config.lr_at(step, self.steps, period)
        assert len(self.state) == len(self.parameters), "made here, never inside recorded work"
        if lr != self.lr:
            self.lr = lr
            self.rate.fill_(lr)

    def descend(self, loss: Tensor) -> None:
        """Do one update by the gradient of `loss`, at the rate that `begin` has set."""
        descend(loss, self)

    def follow_gradients(self) -> None:
        """Do one update by the parameters' present gradients, at the rate that `begin` has set."""
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        pairs = [(each, each.grad) for each in self.parameters if each.grad is not None]
        with torch.no_grad():
            self._update([each for each, _ in pairs], [gradient for _, gradient in pairs])

    def _update(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        config = self.config
        moments = [self.state[each] for each in parameters]
        if config.name == "sgd":
            sgd(
                parameters,
                gradients,
                [each.get("momentum_buffer") for each in moments],
                lr=self.rate,  # type: ignore[arg-type]  # a tensor, as its fused kernel takes it
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                fused=True,
            )
            return
        adam(
            parameters,
            gradients,
            [each["exp_avg"] for each in moments],
            [each["exp_avg_sq"] for each in moments],
            [],
            [each["step"] for each in moments],
            lr=self.rate,
            beta1=config.betas[0],
            beta2=config.betas[1],
            eps=1e-8,
            weight_decay=config.weight_decay,
            decoupled_weight_decay=config.name == "adamw",
            amsgrad=False,
            maximize=False,
            fused=True,
            capturable=True,
        )

    def clear_gradients(self) -> None:
        """Set every parameter's gradient to None, which frees its memory."""
        for parameter in self.parameters:
            parameter.grad = None

    def restart(self) -> None:
        """Set momentum, moments and counts to zero, as in a new optimiser."""
        for moments in self.state.values():
            for moment in moments.values():
                moment.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return momentum, moments and counts of each parameter, by its number from 0."""
        return {"state": {n: dict(self.state[each]) for n, each in enumerate(self.parameters)}}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Restore a state, in place; what it does not have is set to zero.

        Raises:
            ValueError: it has numbers of parameters, or names of moments, that this one lacks.
        """
        state, given = self.state, state_dict["state"]
        if not set(given) <= set(range(len(self.parameters))):
            raise ValueError(f"state of {len(given)} parameters, of which {len(state)} are known")
        self.restart()
        for number, parameter in enumerate(self.parameters):
            own, theirs = state[parameter], given.get(number, {})
            if not set(theirs) <= set(own):
                raise ValueError(f"state of {sorted(theirs)} does not fit {sorted(own)}")
            for name, moment in theirs.items():
                if moment is not None:
                    own[name].copy_(moment)


def moments_of(parameter: Tensor, config: OptimiserConfig) -> Results:
    """Return the state that an optimiser has of `parameter` before its first update: zeros."""
    if config.name != "sgd":
        count = torch.zeros((), dtype=torch.float32, device=parameter.device)
        pair = (torch.zeros_like(parameter, requires_grad=False) for _ in range(2))
        return dict(zip(("step", "exp_avg", "exp_avg_sq"), (count, *pair), strict=True))
    if not config.momentum:
        return {}
    return {"momentum_buffer": torch.zeros_like(parameter, requires_grad=False)}


def descend(loss: Tensor, *optimisers: Optimiser) -> None:
    """Do one update of all `optimisers` by the gradient of `loss`, at the rates they have set."""
    for optimiser in optimisers:
        optimiser.clear_gradients()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    for optimiser in optimisers:
        optimiser.follow_gradients()
