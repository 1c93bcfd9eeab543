"""The schedulers: the rule by which each lets a trial go on at a rung."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import Field, field_validator

from trainables.values import Config
from tune_sr.ledger.history import TrialRecord


class SchedulerConfig(Config):
    """Which scheduler, with its two numbers."""

    name: str = "asha"
    """A key of `SCHEDULERS`."""
    grace_period: int = Field(default=1, ge=1)
    """Reports that every trial makes before it can be stopped."""
    reduction_factor: int = Field(default=3, ge=2)
    """At each rung one trial in so many goes on; rungs lie this factor apart. Not of `median`."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SCHEDULERS:
            raise ValueError(f"unknown scheduler {name!r}; known: {', '.join(SCHEDULERS)}")
        return name


def asha(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """Asynchronous successive halving: at each rung the best one in `reduction_factor` goes on.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020 (the rule that
    stops rather than pauses, as Ray Tune and Syne Tune have it). Prefer it unless trials are so
    short, or their curves cross so late, that an early value says nothing.

    Args:
        scheduler: whose `reduction_factor` eta is used.
        own: the trial's best value up to this rung; -inf where it has no finite one.
        others: that of every other trial that has reached the rung, stopped and failed included,
            rising.

    Returns:
        Whether `own` reaches the (1 - 1/eta) quantile of all values at the rung, its own included.
        The first trial to arrive always goes on, so does an equal one.

    >>> asha(SchedulerConfig(), 30.0, [29.0, 31.0])
    False
    """
    return own > -math.inf and own >= _quantile(own, others, scheduler.reduction_factor)


def hyperband(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """ASHA in several brackets, each of which spares its trials one more of the first rungs.

    Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018,
    without its waiting: a trial's bracket is drawn when it is added, and each bracket is an `asha`
    of its own trials. The last bracket stops none. Prefer it to `asha` where good trials may begin
    slowly and it is not known how slowly; it costs more updates for as many trials.

    >>> hyperband(SchedulerConfig(name="hyperband"), 30.0, [29.0, 31.0])
    False
    """
    return asha(scheduler, own, others)


def median(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """The median stopping rule: a trial stops whose best lies below the median of the averages.

    Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2.
    There only completed trials are compared with; here all that have made the report, so that
    trials which run side by side can stop one another. Asked at every report from `grace_period`
    on. Prefer it where `asha` stops too much: an average lags behind a rising curve, so it stops
    only what is clearly behind, but does so at once.

    Args:
        scheduler: without influence.
        own: the trial's best value up to this report; -inf where it has no finite one.
        others: the average up to this report of every other trial that has made it, rising.

    >>> median(SchedulerConfig(name="median"), 30.0, [29.0, 30.0, 31.0])
    True
    """
    del scheduler  # the rule has no number of its own
    if own == -math.inf or not others:
        return own > -math.inf
    middle = len(others) // 2
    return own >= (others[middle] + others[-middle - 1]) / 2


def pbt(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """Population based training: no trial stops; poor ones go on as changed copies of good ones.

    See `tune_sr/schedulers/pbt.py`. Every `grace_period` reports the lowest one in
    `reduction_factor` (the paper's share is one in 5) copies one of as many highest. Prefer it for
    long trials whose weights and rates would better change on the way; its best is the end of a
    schedule, so it does not tell which constant configuration is the best one.
    """
    return none(scheduler, own, others)


def none(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """Every trial runs to its end: for spaces of a few trials, and to judge a scheduler by."""
    del scheduler, own, others  # no value could stop a trial
    return True


def best_until(record: TrialRecord, step: int, objective: str) -> float:
    """The best finite value of `objective` up to `step`; -inf where there is none."""
    best = record.best(objective, until=step)
    return -math.inf if best is None else record.reports[best].report[objective]


def average_until(record: TrialRecord, step: int, objective: str) -> float:
    """The mean of the finite values of `objective` up to `step`; -inf where there is none."""
    told = (each.report.get(objective, math.nan) for s, each in record.reports.items() if s <= step)
    finite = [value for value in told if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else -math.inf


def _powers(scheduler: SchedulerConfig, reports: int) -> Sequence[int]:
    """The grace period, and every `reduction_factor` times as many, before report `reports`."""
    counts, count = [], scheduler.grace_period
    while count < reports:
        counts.append(count)
        count *= scheduler.reduction_factor
    return counts


class Rule(NamedTuple):
    """What one scheduler is made of."""

    continues: Callable[[SchedulerConfig, float, Sequence[float]], bool]
    """Its numbers, a trial's best value so far and the others' standing, rising -> whether it goes
    on."""
    rungs: Callable[[SchedulerConfig, int], Sequence[int]] = _powers
    """Its numbers and the reports of a whole trial -> the reports at which it is asked."""
    compared_value: Callable[[TrialRecord, int, str], float] = best_until
    """Another trial, the step and the objective -> what is compared with."""
    brackets: bool = False
    """Whether later brackets are spared the first rungs; see `bracket_of`."""
    uses_reduction_factor: bool = True
    """Whether a `reduction_factor` means anything."""
    is_population_based: bool = False
    """Whether trials learn from one another at its rungs; see `tune_sr/schedulers/pbt.py`."""
    says: str = "one trial in {reduction_factor} goes on"
    """What happens at a rung, for a person."""


SCHEDULERS: dict[str, Rule] = {
    "asha": Rule(asha),
    "hyperband": Rule(hyperband, brackets=True),
    "median": Rule(
        median,
        rungs=lambda scheduler, reports: range(scheduler.grace_period, reports),
        compared_value=average_until,
        uses_reduction_factor=False,
        says="a trial goes on if its best is no worse than the median of the others' averages",
    ),
    "pbt": Rule(
        pbt,
        rungs=lambda scheduler, reports: range(
            scheduler.grace_period, reports, scheduler.grace_period
        ),
        is_population_based=True,
        says="a trial of the lowest one in {reduction_factor} becomes a changed copy of a high one",
    ),
    "none": Rule(none, rungs=lambda scheduler, reports: ()),
}


def _quantile(own: float, others: Sequence[float], eta: int) -> float:
    """The (1 - 1/eta) quantile of `own` and the finite ones of `others`, which rise.

    Linear between neighbours, whole part exact.
    """
    first = bisect_right(others, -math.inf)
    place = bisect_right(others, own)

    def ranked(rank: int) -> float:
        """The value at `rank` among all, from 0, `own` in its place."""
        index = first + rank
        return own if index == place else others[index - (index > place)]

    below, rest = divmod((len(others) - first) * (eta - 1), eta)
    if rest == 0:
        return ranked(below)
    return ranked(below) + (ranked(below + 1) - ranked(below)) * (rest / eta)
