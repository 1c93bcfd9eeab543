"""Reads a scheduler's settings, and computes the least grace period that a space allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trainables.config import BudgetConfig
from trainables.problems import first_problem
from trainables.values import Config, ConfigError
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.schedulers.rungs import rungs


class _Scheduler(Config):
    scheduler: SchedulerConfig


def parse_scheduler(setting: Any, budget: BudgetConfig, last_growth: int) -> SchedulerConfig:
    """Read the YAML setting `study.scheduler`: a scheduler's name, or a mapping with its numbers.

    Args:
        setting: as YAML gives it; without a grace period it gets the least one allowed.
        budget: the number of updates of a trial, and between two reports.
        last_growth: the latest update with which a student of the space grows; 0 if none does.

    Raises:
        ConfigError: it is no scheduler, has a number that the scheduler does not use, or a grace
            period that is too short or leaves no rung.
    """
    raw = {"scheduler": {"name": setting} if isinstance(setting, str) else setting}
    least = least_grace(budget, last_growth)
    given = isinstance(setting, Mapping) and "grace_period" in setting
    if isinstance(raw["scheduler"], Mapping) and not given:
        raw = {"scheduler": {**raw["scheduler"], "grace_period": least}}
    try:
        scheduler = _Scheduler.model_validate(raw).scheduler
    except ValidationError as error:
        problem = first_problem(_Scheduler, error, raw)
        raise ConfigError(f"study.{problem.path}", problem.rule) from None
    reduces = SCHEDULERS[scheduler.name].uses_reduction_factor
    if not reduces and scheduler.reduction_factor != SchedulerConfig().reduction_factor:
        rule = f"{scheduler.name} has none: leave it out"
        raise ConfigError("study.scheduler.reduction_factor", rule)
    if given and scheduler.name != "none":
        _check_grace(scheduler, budget, last_growth, least)
    return scheduler


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


def _check_grace(
    scheduler: SchedulerConfig, budget: BudgetConfig, last_growth: int, least: int
) -> None:
    path, grace = "study.scheduler.grace_period", scheduler.grace_period
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
