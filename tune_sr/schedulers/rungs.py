"""Computes rungs (the steps at which a scheduler may stop a trial) and draws trials' brackets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.values import derive_seed
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig

if TYPE_CHECKING:
    from trainables.config import BudgetConfig


def rungs(scheduler: SchedulerConfig, budget: BudgetConfig, bracket: int = 0) -> tuple[int, ...]:
    """Return the steps at which `scheduler` may stop a trial, ascending, before its last report.

    Args:
        scheduler: the rule and its parameters.
        budget: the number of updates of a trial, and between two reports.
        bracket: how many of the first rungs are skipped; see `bracket_of`.

    >>> from trainables.config import BudgetConfig
    >>> budget = BudgetConfig(steps=300, steps_per_report=15)
    >>> rungs(SchedulerConfig(grace_period=2), budget)
    (30, 90, 270)
    """
    reports = SCHEDULERS[scheduler.name].rungs(scheduler, budget.reports)
    return tuple(report * budget.steps_per_report for report in reports)[bracket:]


def bracket_shares(scheduler: SchedulerConfig, budget: BudgetConfig) -> tuple[float, ...]:
    """Return the share of the trials in each bracket, from the one with all rungs on; sums to 1.

    As in Hyperband (see `hyperband`): a bracket with s rungs gets eta**s / (s + 1) times as many
    trials as the bracket without rungs, so that all brackets cost about the same.

    >>> from trainables.config import BudgetConfig
    >>> budget = BudgetConfig(steps=300, steps_per_report=15)
    >>> halving = SchedulerConfig(name="hyperband", grace_period=5, reduction_factor=2)
    >>> [round(share, 2) for share in bracket_shares(halving, budget)]
    [0.4, 0.3, 0.3]
    """
    if not SCHEDULERS[scheduler.name].brackets:
        return (1.0,)
    count = len(rungs(scheduler, budget))
    sizes = [scheduler.reduction_factor**left / (left + 1) for left in range(count, -1, -1)]
    return tuple(size / sum(sizes) for size in sizes)


def bracket_of(scheduler: SchedulerConfig, budget: BudgetConfig, seed: int, number: int) -> int:
    """Draw the bracket of trial `number` from the study's seed; it is the same at every call.

    Trials of bracket b skip the first b rungs and are compared among themselves.
    """
    shares = bracket_shares(scheduler, budget)
    if len(shares) == 1:
        return 0
    drawn = derive_seed(seed, "bracket", number) / 2**63
    below = 0.0
    for bracket, share in enumerate(shares):
        below += share
        if drawn < below:
            return bracket
    return len(shares) - 1
