"""Decides whether a trial continues, stops or is complete: pure in the history."""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tune_sr.ledger.history import History, TrialRecord
from tune_sr.ledger.reports import Decision
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig, best_until
from tune_sr.schedulers.rungs import bracket_of, bracket_shares, rungs

if TYPE_CHECKING:
    from trainables.config import BudgetConfig


class Decider:
    """Decides for one study; a decision costs what is new since the last one.

    It keeps where the trials stand at each rung, sorted, and reads on in `history` from the report
    that it read last. So it decides as one that begins with the same ledger would, as long as each
    trial reports its steps in their order, which trials do.
    """

    def __init__(
        self,
        scheduler: SchedulerConfig,
        budget: BudgetConfig,
        history: History,
        objective: Objective = PSNR_ONLY,
        seed: int = 0,
    ) -> None:
        """Take what decides.

        Args:
            scheduler: which rule, with its numbers.
            budget: a trial's.
            history: what has happened; it may go on growing.
            objective: the keys of reports that are to be large and small.
            seed: the study's, which gives each trial its bracket.
        """
        self._scheduler, self._budget, self._history = scheduler, budget, history
        self._value, self._cost, self._seed = objective.value, objective.cost, seed
        self._rule = SCHEDULERS[scheduler.name]
        brackets = range(len(bracket_shares(scheduler, budget)))
        self._rungs = [frozenset(rungs(scheduler, budget, bracket)) for bracket in brackets]
        self._brackets: dict[int, int] = {}
        self._read: defaultdict[int, int] = defaultdict(int)
        self._standings: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
        self._priced: defaultdict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)

    def decide(self, trial: str, step: int, report: Mapping[str, float]) -> Decision:
        """Whether a trial goes on after its report at `step`.

        Pure: the same ledger and the same report give the same answer, live or on resume. A report
        that the ledger already holds gets the decision it got before.

        Args:
            trial: its name; the history has it.
            step: student updates done.
            report: what it reported; NaN counts as worst.

        Returns:
            `complete` at the end of the budget, else `stop` or `continue`.
        """
        record = self._history.trials[trial]
        earlier = record.reports.get(step)
        if earlier is not None:
            return earlier.decision
        if step >= self._budget.steps:
            return "complete"
        bracket = self._bracket(record)
        if step not in self._rungs[bracket]:
            return "continue"
        own = max(best_until(record, step, self._value), _or_worst(report[self._value]))
        others = self._others(step, bracket)
        if self._cost is not None:
            others = self._at_most_as_costly(step, bracket, report[self._cost])
        return "continue" if self._rule.continues(self._scheduler, own, others) else "stop"

    def _others(self, step: int, bracket: int) -> list[float]:
        """Where those of a bracket stand that have reported at `step`, rising."""
        reached = self._history.reached[step]
        for record in reached[self._read[step] :]:
            standing, place = (
                self._rule.compared_value(record, step, self._value),
                self._bracket(record),
            )
            insort(self._standings[step, place], standing)
            if self._cost is not None:
                cost = record.reports[step].report[self._cost]
                insort(self._priced[step, place], (standing, cost))
        self._read[step] = len(reached)
        return self._standings[step, bracket]

    def _at_most_as_costly(self, step: int, bracket: int, cost: float) -> list[float]:
        """Of `_others` those that cost no more than `cost`, with which alone a trial is compared.

        So the front of a rung goes on: the best one for its cost is the best of all it is compared
        with, and a small student need not reach a large one. (Schmucker et al., "Multi-objective
        Asynchronous Successive Halving", arXiv 2106.12639, rank a rung by its fronts instead, which
        asks for more trials at a rung than fronts have.)
        """
        return [standing for standing, theirs in self._priced[step, bracket] if theirs <= cost]

    def _bracket(self, record: TrialRecord) -> int:
        number = record.number
        if number not in self._brackets:
            drawn = bracket_of(self._scheduler, self._budget, self._seed, number)
            self._brackets[number] = drawn
        return self._brackets[number]


def _or_worst(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
