"""Decides whether a trial continues, stops or is complete: a pure function of the history."""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tune_sr.ledger.history import History, TrialRecord
from tune_sr.ledger.reports import Decision, Judged
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig, best_until, rank_among
from tune_sr.schedulers.rungs import bracket_of, bracket_shares, rungs

if TYPE_CHECKING:
    from trainables.config import BudgetConfig


class Ruling(NamedTuple):
    """What a scheduler decides on a report."""

    decision: Decision
    judged: Judged | None = None
    """How the trial stood; None where the report is at no rung, or the rule stops no trial."""


class Decider:
    """Decides incrementally for the trials of one study.

    It keeps each rung's values sorted and reads only the reports made since the last decision. A
    new `Decider` over the same ledger decides the same, as long as each trial reports its steps in
    ascending order, which trials do.
    """

    def __init__(
        self,
        scheduler: SchedulerConfig,
        budget: BudgetConfig,
        history: History,
        objective: Objective = PSNR_ONLY,
        seed: int = 0,
    ) -> None:
        """Set up the rungs of every bracket; reads nothing of the history yet.

        Args:
            scheduler: the rule and its parameters.
            budget: the number of updates of a trial, and between two reports.
            history: the study's trials; it may keep growing.
            objective: the report key to maximise, and the cost to minimise if there is one.
            seed: the study's seed, from which each trial's bracket is drawn.
        """
        self._scheduler, self._budget, self._history = scheduler, budget, history
        self._value, self._cost, self._seed = objective.value, objective.cost, seed
        self._rule = SCHEDULERS[scheduler.name]
        brackets = range(len(bracket_shares(scheduler, budget)))
        self._rungs = [frozenset(rungs(scheduler, budget, bracket)) for bracket in brackets]
        self._brackets: dict[int, int] = {}
        self._read: defaultdict[int, int] = defaultdict(int)
        self._values: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
        self._with_costs: defaultdict[tuple[int, int], list[tuple[float, float]]]
        self._with_costs = defaultdict(list)

    def decide(self, trial: str, step: int, report: Mapping[str, float]) -> Decision:
        """Return the decision of `judge`."""
        return self.judge(trial, step, report).decision

    def judge(self, trial: str, step: int, report: Mapping[str, float]) -> Ruling:
        """Decide whether a trial continues after its report at `step`, and how it stands there.

        Pure: the same ledger and the same report give the same ruling, live or on resume. A report
        that the ledger already holds gets what is recorded of it.

        Args:
            trial: the name of a trial of the history.
            step: student updates done.
            report: key to value; NaN counts as worst.

        Returns:
            The decision: `complete` at the end of the budget, else `stop` or `continue`; and at a
            rung how the trial stood.
        """
        record = self._history.trials[trial]
        earlier = record.reports.get(step)
        if earlier is not None:
            return Ruling(earlier.decision, earlier.judged)
        if step >= self._budget.steps:
            return Ruling("complete")
        bracket = self._bracket(record)
        if step not in self._rungs[bracket]:
            return Ruling("continue")
        own = max(best_until(record, step, self._value), _or_worst(report[self._value]))
        others = self._others(step, bracket)
        if self._cost is not None:
            others = self._at_most_as_costly(step, bracket, report[self._cost])
        goes_on = self._rule.continues(self._scheduler, own, others)
        return Ruling("continue" if goes_on else "stop", self._judged(own, others))

    def _judged(self, own: float, others: Sequence[float]) -> Judged | None:
        if self._rule.needed is None:
            return None
        needed = self._rule.needed(self._scheduler, others)
        value = own if math.isfinite(own) else math.nan
        return Judged(value, needed, rank_among(own, others), len(others) + 1)

    def _others(self, step: int, bracket: int) -> list[float]:
        """Return the compared values of the bracket's trials that reported at `step`, ascending."""
        reached = self._history.reached[step]
        for record in reached[self._read[step] :]:
            value = self._rule.compared_value(record, step, self._value)
            rung = step, self._bracket(record)
            insort(self._values[rung], value)
            if self._cost is not None:
                cost = record.reports[step].report[self._cost]
                insort(self._with_costs[rung], (value, cost))
        self._read[step] = len(reached)
        return self._values[step, bracket]

    def _at_most_as_costly(self, step: int, bracket: int, cost: float) -> list[float]:
        """Return the values at a rung of the trials that cost at most `cost`, ascending.

        With two objectives a trial is compared with these alone, so that a rung's Pareto front
        continues: its members are the best at their cost, and a small student need not match a
        large one. Schmucker et al., "Multi-objective Asynchronous Successive Halving", arXiv
        2106.12639, rank a rung by its successive fronts, which needs rungs with several fronts.
        """
        return [value for value, theirs in self._with_costs[step, bracket] if theirs <= cost]

    def _bracket(self, record: TrialRecord) -> int:
        number = record.number
        if number not in self._brackets:
            drawn = bracket_of(self._scheduler, self._budget, self._seed, number)
            self._brackets[number] = drawn
        return self._brackets[number]


def _or_worst(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
