"""What stops a poor trial: pure functions of what the ledger says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from trainables.values import Config
from tune_sr.ledger import Decision, History

if TYPE_CHECKING:
    from trainables.config import BudgetConfig


class SchedulerConfig(Config):
    """Which scheduler, with its two numbers."""

    name: str = "asha"
    """A key of `SCHEDULERS`."""
    grace_period: int = Field(default=1, ge=1)
    """Reports that every trial makes before it can be stopped."""
    reduction_factor: int = Field(default=3, ge=2)
    """At each rung one trial in so many goes on; rungs lie this factor apart."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SCHEDULERS:
            raise ValueError(f"unknown scheduler {name!r}; known: {', '.join(SCHEDULERS)}")
        return name


def least_grace(budget: BudgetConfig, last_growth: int) -> int:
    """The fewest reports a trial must make before it may be judged.

    A student that grows falls below bicubic before it recovers (measured on VDSR: from +0.96 to
    -2.30 dB), so the first rung lies at least a tenth of the budget after the last growth; later
    rungs then do so too.

    Args:
        budget: a trial's.
        last_growth: the latest update with which a student of the space grows; 0 if none does.

    >>> from trainables.config import BudgetConfig
    >>> least_grace(BudgetConfig(steps=300, steps_per_report=30), last_growth=45)
    3
    """
    if last_growth == 0:
        return 1
    return -(-(10 * last_growth + budget.steps) // (10 * budget.steps_per_report))  # rounded up


def rungs(scheduler: SchedulerConfig, budget: BudgetConfig) -> tuple[int, ...]:
    """The steps at which `scheduler` may stop a trial, rising, all before the last report.

    >>> from trainables.config import BudgetConfig
    >>> budget = BudgetConfig(steps=300, steps_per_report=15)
    >>> rungs(SchedulerConfig(grace_period=2), budget)
    (30, 90, 270)
    """
    if SCHEDULERS[scheduler.name] is none:
        return ()
    milestones = []
    reports = scheduler.grace_period
    while reports < budget.reports:
        milestones.append(reports * budget.steps_per_report)
        reports *= scheduler.reduction_factor
    return tuple(milestones)


def decide(
    scheduler: SchedulerConfig,
    budget: BudgetConfig,
    history: History,
    trial: str,
    step: int,
    value: float,
    objective: str = "psnr_y_db",
) -> Decision:
    """Whether a trial goes on after its report at `step`.

    Pure: the same ledger and the same report give the same answer, live or on resume. A report
    that the ledger already holds gets the decision it got before.

    Args:
        scheduler: which rule, with its numbers.
        budget: the trial's.
        history: what had happened before this report.
        trial: the trial's name; `history` has it.
        step: student updates done.
        value: the objective at this report, larger is better; NaN counts as worst.
        objective: the report's key under which earlier values are found.

    Returns:
        `complete` at the end of the budget, else `stop` or `continue`.
    """
    earlier = history.trials[trial].reports.get(step)
    if earlier is not None:
        return earlier.decision
    if step >= budget.steps:
        return "complete"
    if step not in rungs(scheduler, budget):
        return "continue"
    own = max(_best_until(history, trial, step, objective), _or_worst(value))
    others = {
        name: _best_until(history, name, step, objective)
        for name, record in history.trials.items()
        if name != trial and step in record.reports
    }
    return "continue" if SCHEDULERS[scheduler.name](scheduler, own, others) else "stop"


def asha(scheduler: SchedulerConfig, own: float, others: Mapping[str, float]) -> bool:
    """Asynchronous successive halving: at each rung the best one in `reduction_factor` goes on.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020 (the rule that
    stops rather than pauses, as Ray Tune and Syne Tune have it). Prefer it unless trials are so
    short, or their curves cross so late, that an early value says nothing.

    Args:
        scheduler: whose `reduction_factor` eta is used.
        own: the trial's best value up to this rung; -inf where it has no finite one.
        others: that of every other trial that has reached the rung, stopped and failed included.

    Returns:
        Whether `own` reaches the (1 - 1/eta) quantile of all values at the rung, its own included.
        The first trial to arrive always goes on, so does an equal one.

    >>> asha(SchedulerConfig(), 30.0, {"0000": 29.0, "0001": 31.0})
    False
    """
    values = sorted(value for value in (own, *others.values()) if value > -math.inf)
    if own == -math.inf:
        return False
    return own >= _quantile(values, scheduler.reduction_factor)


def none(scheduler: SchedulerConfig, own: float, others: Mapping[str, float]) -> bool:
    """Every trial runs to its end: for spaces of a few trials, and to judge a scheduler by."""
    del scheduler, own, others  # no value could stop a trial
    return True


SCHEDULERS: dict[str, Callable[[SchedulerConfig, float, Mapping[str, float]], bool]] = {
    "asha": asha,
    "none": none,
}


def _quantile(values: list[float], eta: int) -> float:
    """The (1 - 1/eta) quantile of sorted `values`, linear between neighbours, whole part exact."""
    below, rest = divmod((len(values) - 1) * (eta - 1), eta)
    if rest == 0:
        return values[below]
    return values[below] + (values[below + 1] - values[below]) * (rest / eta)


def _best_until(history: History, trial: str, step: int, objective: str) -> float:
    record = history.trials[trial]
    best = record.best(objective, until=step)
    return -math.inf if best is None else record.reports[best].report[objective]


def _or_worst(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
