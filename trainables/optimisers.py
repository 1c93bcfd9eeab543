"""Optimisers whose learning rate is a pure function of the step: a schedule has no state.

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
    """How the learning rate changes, in fractions of the trial's budget."""

    kind: Literal["step", "cosine", "constant"] = "step"
    """`step`: the rate is multiplied by `factor` at the fractions `at`. `cosine`: it falls to 0
    along half a cosine, [SGDR] with eta_min = 0, which begins where the warm-up ends. `constant`:
    it does not fall. `at` and `factor` are read by `step` alone. All three papers: step."""
    at: float | Annotated[tuple[float, ...], Field(strict=False)] = 0.125
    """One number f in (0, 1]: at every multiple of f of the budget; a list: at just these
    fractions. [DFSR] on VDSR: every 10 of 80 epochs, 0.125."""
    factor: float = Field(default=0.1, gt=0.0, le=1.0)
    """What the rate is multiplied by each time. [DFSR]: 0.1."""
    warmup: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of the budget, in [0, 1), in which the rate rises linearly to `optimiser.lr`
    ([Warm-up]: 5 of 90 epochs); 0, as in all three papers: none. With every kind."""

    @model_validator(mode="after")
    def _fractions(self) -> Self:
        fractions = (self.at,) if isinstance(self.at, float) else self.at
        if not fractions or not all(0.0 < fraction <= 1.0 for fraction in fractions):
            raise ConfigError("at", f"fractions of the budget lie in (0, 1]; got {self.at}")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `kind` and `warmup` where they were not given.

        Configurations of before there were the two are written, compared and resumed as they were.
        """
        unsaid = {"kind", "warmup"} - self.model_fields_set
        return {key: value for key, value in write(self).items() if key not in unsaid}

    def factor_at(self, step: int, steps: int, period: int | None = None) -> float:
        """What the initial rate is multiplied by at update number `step`.

        Args:
            step: from 0, counted from the restart before it if there was one.
            steps: the trial's budget, of which `at` has fractions.
            period: updates from one restart to the next, or to the end; the warm-up is a fraction
                of them, and the cosine arrives at 0 with them. None, without restarts: `steps`.

        >>> ScheduleConfig(at=0.4, factor=0.1).factor_at(80, 100)
        0.010000000000000002
        >>> ScheduleConfig(kind="cosine", warmup=0.2).factor_at(60, 100)
        0.5
        """
        period = steps if period is None else period
        warmup = self.warmup * period
        # Update number `warmup` is the first at the whole rate; the very first is above 0.
        rise = min(1.0, (step + 1) / (warmup + 1.0))
        if self.kind == "constant":
            return rise
        if self.kind == "cosine":
            fallen = max(0.0, step - warmup) / (period - warmup)
            return rise * (1.0 + math.cos(math.pi * fallen)) / 2.0
        done = step / steps + 1e-9  # a milestone is reached at its own step, rounding or not
        if isinstance(self.at, float):
            return rise * float(self.factor ** math.floor(done / self.at))
        return rise * float(self.factor ** sum(fraction <= done for fraction in self.at))


class OptimiserConfig(Config):
    """How the student is updated; the defaults are VDSR's, from pytorch-vdsr and [DFSR]."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """`sgd` with momentum for VDSR; `adam` for the RGB networks; `adamw`: Adam whose weight decay
    is decoupled from the gradient ([AdamW]), in none of the papers."""
    lr: float = Field(default=0.1, gt=0.0)
    """Initial learning rate. [DFSR]: 0.1 with sgd on VDSR, 1e-4 with adam on EDSR."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Of `sgd`; 0.9 everywhere."""
    betas: tuple[float, float] = Field(default=(0.9, 0.999), strict=False)
    """Of `adam` and `adamw`."""
    weight_decay: float = Field(default=1e-4, ge=0.0)
    """1e-4 for VDSR; 0 for the RGB networks; 0.01 where `adamw` is named, as torch has it. `adamw`
    takes lr * weight_decay of each parameter away, the others add weight_decay times the parameter
    to its gradient."""
    clip: float | None = Field(default=0.4, gt=0.0)
    """Largest norm of the whole gradient; pytorch-vdsr: 0.4, which, with a summed loss, is always
    exceeded and so sets the size of every update. null: no clipping."""
    schedule: ScheduleConfig | None = ScheduleConfig()
    """null: a constant rate."""

    def lr_at(self, step: int, steps: int, period: int | None = None) -> float:
        """The learning rate for update number `step` (from 0) of a budget of `steps`.

        The arguments are those of `ScheduleConfig.factor_at`.
        """
        return self.lr * (self.schedule.factor_at(step, steps, period) if self.schedule else 1.0)


class Optimiser:
    """An optimiser of all parameters of a network, with clipping and its schedule.

    The updates are torch's fused kernels, called as functions: `torch.optim`'s classes import
    torch's compiler with their first update, 800 modules and two seconds of every process.

    Parameters that took no part in the loss have no gradient and are left alone, by momentum and
    weight decay too. So the state keeps one shape while a student grows.
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
        """Momentum, moments and counts of each parameter, zero at first; their memory stays."""
        return {each: moments_of(each, self.config) for each in self.parameters}

    @cached_property
    def rate(self) -> Tensor:
        """The learning rate as a tensor on the parameters' device, which recorded work reads."""
        device = self.parameters[0].device
        # Kernels of GPUs take a float32; on a CPU it is as exact as the float it is made from.
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        return torch.tensor(self.lr, dtype=dtype, device=device)

    def beside(self, parameters: Sequence[nn.Parameter], moments: Sequence[Results]) -> Optimiser:
        """An optimiser of other parameters, at the rate of this one, that goes on from `moments`.

        It can be made inside recorded work; `moments`, as of `moments_of`, are updated in place.
        """
        other = Optimiser(parameters, self.config, self.steps)
        other.rate = self.rate
        for parameter, given in zip(parameters, moments, strict=True):
            other.state[parameter] = given
        return other

    def begin(self, step: int, period: int | None = None) -> None:
        """Set the learning rate of an update; what follows may be recorded.

        Args:
            step: number of the update, from 0, counted from where the schedule was restarted.
            period: updates from that restart to the next one or to the end; None: the budget.
        """
        lr = self.config.lr_at(step, self.steps, period)
        assert len(self.state) == len(self.parameters), "made here, never inside recorded work"
        if lr != self.lr:
            self.lr = lr
            self.rate.fill_(lr)

    def descend(self, loss: Tensor) -> None:
        """One descent of `loss`, at the rate that `begin` has set."""
        descend(loss, self)

    def follow_gradients(self) -> None:
        """One update along the gradients that are there, at the rate that `begin` has set."""
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
        """Forget every gradient."""
        for parameter in self.parameters:
            parameter.grad = None

    def restart(self) -> None:
        """Forget momentum and moments, as a new optimiser would."""
        for moments in self.state.values():
            for moment in moments.values():
                moment.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Momentum, moments and counts of each parameter, under its number."""
        return {"state": {n: dict(self.state[each]) for n, each in enumerate(self.parameters)}}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue from `state_dict`, in place; what it does not have is as at the start.

        Raises:
            ValueError: it is the state of an optimiser of another kind or other parameters.
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
    """What an optimiser remembers of `parameter` before its first update: zeros."""
    if config.name != "sgd":
        count = torch.zeros((), dtype=torch.float32, device=parameter.device)
        pair = (torch.zeros_like(parameter, requires_grad=False) for _ in range(2))
        return dict(zip(("step", "exp_avg", "exp_avg_sq"), (count, *pair), strict=True))
    if not config.momentum:
        return {}
    return {"momentum_buffer": torch.zeros_like(parameter, requires_grad=False)}


def descend(loss: Tensor, *optimisers: Optimiser) -> None:
    """One descent of `loss` by the parameters of all `optimisers`, at the rates they have begun."""
    for optimiser in optimisers:
        optimiser.clear_gradients()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    for optimiser in optimisers:
        optimiser.follow_gradients()
