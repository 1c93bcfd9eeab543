"""Computes the least grace period that a space allows, and checks a scheduler's numbers."""

from __future__ import annotations

from trainables.config import BudgetConfig
from trainables.errors import ConfigError
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.schedulers.rungs import rungs


def check_scheduler(
    scheduler: SchedulerConfig, budget: BudgetConfig, last_growth: int, *, grace_given: bool
) -> None:
    """Refuse numbers of a scheduler that do not fit a space; a grace period only if it is given.

    Raises:
        ConfigError: the scheduler does not use a number, or its grace period is shorter than
            `least_grace`, or leaves no rung.
    """
    reduces = SCHEDULERS[scheduler.name].uses_reduction_factor
    if not reduces and scheduler.reduction_factor != SchedulerConfig().reduction_factor:
        rule = f"{scheduler.name} has none: leave it out"
        raise ConfigError("study.scheduler.reduction_factor", rule)
    if grace_given and scheduler.name != "none":
        _check_grace(scheduler, budget, last_growth)


def least_grace(budget: BudgetConfig, last_growth: int) -> int:
    """Return the least number of reports before a trial may be stopped.

    A student that grows falls below bicubic before it recovers (measured on VDSR: from +0.96 to
    -2.30 dB), so the first rung lies at least a tenth of the budget after the last growth; later
    rungs then do so too.

    Args:
        budget: the number of updates of a trial, and between two reports.
        last_growth: the latest update with which a student of the space grows; 0 if none does.

    >>> from trainables.config import BudgetConfig
    >>> least_grace(BudgetConfig(steps=300, steps_per_report=30), last_growth=45)
    3
    """
    if last_growth == 0:
        return 1
    return -(-(10 * last_growth + budget.steps) // (10 * budget.steps_per_report))  # rounded up


def _check_grace(scheduler: SchedulerConfig, budget: BudgetConfig, last_growth: int) -> None:
    path, grace = "study.scheduler.grace_period", scheduler.grace_period
    least = least_grace(budget, last_growth)
    ends = grace * budget.steps_per_report
    if grace < least:
        needs = last_growth + budget.steps / 10
        raise ConfigError(
            path,
            f"{grace} reports end at update {ends}, but a student that grows at {last_growth} may "
            f"be judged from {needs:g} on (a tenth of its {budget.steps} updates later): at least "
            f"{least} reports",
        )
    if not rungs(scheduler, budget):
        raise ConfigError(
            path,
            f"{grace} reports leave no rung before the last of {budget.reports}: nothing would be "
            "stopped; lower it, or say scheduler: none",
        )
