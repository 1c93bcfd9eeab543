"""The schedulers: the rule by which each lets a trial continue at a rung."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import Field, field_validator

from trainables.values import Config
from tune_sr.ledger.history import TrialRecord


class SchedulerConfig(Config):
    """The scheduler's name and its two parameters: the YAML key `study.scheduler`."""

    name: str = "asha"
    """A key of `SCHEDULERS`."""
    grace_period: int = Field(default=1, ge=1)
    """Reports that every trial makes before it can be stopped."""
    reduction_factor: int = Field(default=3, ge=2)
    """At each rung 1 in `reduction_factor` trials continues, and rungs lie this factor apart.

    `median` has none; for `pbt` it is the share of trials that are replaced."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SCHEDULERS:
            raise ValueError(f"unknown scheduler {name!r}; known: {', '.join(SCHEDULERS)}")
        return name


def asha(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """Asynchronous successive halving: at each rung the best 1 in `reduction_factor` continues.

    Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, in the variant
    that stops trials rather than pauses them, as in Ray Tune and Syne Tune. Prefer it unless trials
    are so short, or their curves cross so late, that an early value predicts nothing.

    Args:
        scheduler: its `reduction_factor` is eta.
        own: the trial's best value up to this rung; -inf where it has no finite one.
        others: the best values of all other trials that have reached the rung, stopped and failed
            ones included, ascending.

    Returns:
        Whether `own` reaches the (1 - 1/eta) quantile of all values at the rung, its own included.
        The first trial to arrive always continues, and so does one that equals the quantile.

    >>> asha(SchedulerConfig(), 30.0, [29.0, 31.0])
    False
    """
    return own > -math.inf and own >= _quantile(own, others, scheduler.reduction_factor)


def hyperband(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """ASHA in several brackets: bracket b skips the first b rungs.

    Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018,
    made asynchronous: a trial's bracket is drawn when it is added, and each bracket runs `asha`
    among its own trials. The last bracket stops none. Prefer it to `asha` where good trials may
    begin slowly and it is not known how slowly; it costs more updates for as many trials. For
    arguments and result see `asha`.

    >>> hyperband(SchedulerConfig(name="hyperband"), 30.0, [29.0, 31.0])
    False
    """
    return asha(scheduler, own, others)


def median(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """The median stopping rule: stop a trial whose best lies below the median of the averages.

    Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2.
    The paper compares with completed trials only; here all trials that have made the report count,
    so that trials which run at the same time can stop one another. Applied at every report from
    `grace_period` on. Prefer it where `asha` stops too much: an average lags behind a rising curve,
    so only trials that are clearly behind stop, but they do at once.

    Args:
        scheduler: unused; the rule has no parameter.
        own: the trial's best value up to this report; -inf where it has no finite one.
        others: each other trial's average up to this report, of those that have made it, ascending.

    Returns:
        Whether `own` reaches that median. The first trial to arrive continues.

    >>> median(SchedulerConfig(name="median"), 30.0, [29.0, 30.0, 31.0])
    True
    """
    return own > -math.inf and own >= median_needed(scheduler, others)


def pbt(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """Population based training: no trial stops; poor ones continue as changed copies of good ones.

    See `PopulationBasedTraining`. Every `grace_period` reports the lowest 1 in `reduction_factor`
    trials (1 in 5 in the paper) copy one of as many highest. Prefer it for long trials whose loss
    weights and learning rate should change during training; its best trial ends a schedule, so it
    does not show which constant configuration is best.
    """
    return none(scheduler, own, others)


def none(scheduler: SchedulerConfig, own: float, others: Sequence[float]) -> bool:
    """No early stopping: every trial uses its whole budget.

    Prefer it for studies of a few trials, and as the baseline of another scheduler.
    """
    del scheduler, own, others  # nothing stops a trial
    return True


def best_until(record: TrialRecord, step: int, objective: str) -> float:
    """Return a trial's best finite value of `objective` up to `step`; -inf where it has none."""
    best = record.best(objective, until=step)
    return -math.inf if best is None else record.reports[best].report[objective]


def average_until(record: TrialRecord, step: int, objective: str) -> float:
    """Return the mean of a trial's finite values of `objective` up to `step`; -inf without any."""
    reports = (each.report for reported_at, each in record.reports.items() if reported_at <= step)
    values = (report.get(objective, math.nan) for report in reports)
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else -math.inf


def _powers(scheduler: SchedulerConfig, reports: int) -> Sequence[int]:
    """Return grace_period * reduction_factor**k for k = 0, 1, ... below `reports`."""
    counts, count = [], scheduler.grace_period
    while count < reports:
        counts.append(count)
        count *= scheduler.reduction_factor
    return counts


def quantile_needed(scheduler: SchedulerConfig, others: Sequence[float]) -> float:
    """Return the smallest value with which `asha` lets a trial continue.

    The quantile that `asha` compares with includes the trial's own value; a value reaches it
    exactly if it reaches this one of the others.

    Args:
        scheduler: its `reduction_factor` is eta.
        others: as `asha` takes them.

    Returns:
        -inf where every finite value will do.

    >>> quantile_needed(SchedulerConfig(), [29.0, 31.0])
    31.0
    """
    first = bisect_right(others, -math.inf)
    eta = scheduler.reduction_factor
    rank = math.ceil((len(others) - first) * (eta - 1) / eta)
    return others[first + rank - 1] if rank else -math.inf


def median_needed(scheduler: SchedulerConfig, others: Sequence[float]) -> float:
    """Return the smallest value with which `median` lets a trial continue.

    >>> median_needed(SchedulerConfig(name="median"), [29.0, 30.0, 31.0])
    30.0
    """
    del scheduler  # the rule has no parameter of its own
    middle = len(others) // 2
    return (others[middle] + others[-middle - 1]) / 2 if others else -math.inf


def rank_among(own: float, others: Sequence[float]) -> int:
    """Return the place of `own` among `others` (ascending) and itself: 1 is the largest.

    >>> rank_among(30.0, [29.0, 30.0, 31.0])
    2
    """
    return 1 + len(others) - bisect_right(others, own)


class Rule(NamedTuple):
    """The functions and properties that define one scheduler."""

    continues: Callable[[SchedulerConfig, float, Sequence[float]], bool]
    """Whether a trial continues, from the parameters, the trial's best value so far and the other
    trials' `compared_value`s, ascending."""
    needed: Callable[[SchedulerConfig, Sequence[float]], float] | None = None
    """The smallest value with which it continues, for the ledger; None: the rule stops no trial."""
    rungs: Callable[[SchedulerConfig, int], Sequence[int]] = _powers
    """The reports at which `continues` is evaluated, from the parameters and the number of reports
    of a whole trial."""
    compared_value: Callable[[TrialRecord, int, str], float] = best_until
    """The value of another trial to compare with, from its record, the step and the objective."""
    brackets: bool = False
    """Whether later brackets skip the first rungs; see `bracket_of`."""
    uses_reduction_factor: bool = True
    """Whether `reduction_factor` has an effect."""
    is_population_based: bool = False
    """Whether trials may become copies of others at the rungs; see `PopulationBasedTraining`."""
    description: str = "one trial in {reduction_factor} goes on"
    """The rule in words, as `--dry-run` prints it."""


SCHEDULERS: dict[str, Rule] = {
    "asha": Rule(asha, quantile_needed),
    "hyperband": Rule(hyperband, quantile_needed, brackets=True),
    "median": Rule(
        median,
        median_needed,
        rungs=lambda scheduler, reports: range(scheduler.grace_period, reports),
        compared_value=average_until,
        uses_reduction_factor=False,
        description=(
            "a trial goes on if its best is no worse than the median of the others' averages"
        ),
    ),
    "pbt": Rule(
        pbt,
        rungs=lambda scheduler, reports: range(
            scheduler.grace_period, reports, scheduler.grace_period
        ),
        is_population_based=True,
        description=(
            "a trial of the lowest one in {reduction_factor} becomes a changed copy of a high one"
        ),
    ),
    "none": Rule(none, rungs=lambda scheduler, reports: ()),
}


def _quantile(own: float, others: Sequence[float], eta: int) -> float:
    """Return the (1 - 1/eta) quantile of `own` and the finite values of `others` (ascending).

    Interpolates linearly between neighbours; where the rank is whole it is exact.
    """
    first = bisect_right(others, -math.inf)
    place = bisect_right(others, own)

    def ranked(rank: int) -> float:
        """Return the value at `rank`, from 0, with `own` inserted in order."""
        index = first + rank
        return own if index == place else others[index - (index > place)]

    below, rest = divmod((len(others) - first) * (eta - 1), eta)
    if rest == 0:
        return ranked(below)
    return ranked(below) + (ranked(below + 1) - ranked(below)) * (rest / eta)
