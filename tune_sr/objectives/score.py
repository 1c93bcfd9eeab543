"""The report that a trial is judged by, and the best trials of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tune_sr.ledger.history import TrialRecord
from tune_sr.objectives.objective import Objective
from tune_sr.objectives.pareto import pareto_front

if TYPE_CHECKING:
    from trainables.config import TrialConfig


class Score(NamedTuple):
    """The report that a trial is judged by."""

    step: int
    report: Mapping[str, float]
    value: float
    """The report's objective, in dB."""
    cost: float
    """What the student costs; 0 where cost is no objective."""


class Scorer:
    """Scores the trials of one study: the one rule by which all parts compare trials.

    A trial is judged by its best finite report after the student's last growth (update number
    `last_growth`, from 0, is the first of the grown student); before that, by its best report. The
    step of that report is kept until the trial reports again, and the step of the last growth for
    good, so scores cost next to nothing when they are asked for again.

    Args:
        objective: the keys of reports that are to be large and small.
        configure: point -> whole configuration; raises a ValueError for a point that cannot be
            trained. None: no student grows.
    """

    def __init__(
        self,
        objective: Objective,
        configure: Callable[[Mapping[str, Any]], TrialConfig] | None = None,
    ) -> None:
        self._objective, self._configure = objective, configure
        self._last_growths: dict[str, int | None] = {}
        self._steps: dict[str, tuple[int, int | None]] = {}

    def judged(self, record: TrialRecord) -> Score | None:
        """The report that a trial is judged by, whether or not it failed.

        None without a finite report, and for a point that cannot be configured.
        """
        count, step = self._steps.get(record.name, (-1, None))
        if count != len(record.reports):
            step = self._step(record)
            self._steps[record.name] = len(record.reports), step
        if step is None:
            return None
        report, cost = record.reports[step].report, self._objective.cost
        value = report[self._objective.value]
        return Score(step, report, value, 0.0 if cost is None else report[cost])

    def score(self, record: TrialRecord) -> Score | None:
        """The report that a trial is judged by; None also for a failed trial."""
        return None if record.state == "failed" else self.judged(record)

    def scored(self, records: Iterable[TrialRecord]) -> list[tuple[TrialRecord, Score]]:
        """The trials that have a score, by number, each with it."""
        ordered = sorted(records, key=lambda record: record.number)
        scores = ((record, self.score(record)) for record in ordered)
        return [(record, score) for record, score in scores if score is not None]

    def best(self, records: Iterable[TrialRecord]) -> TrialRecord | None:
        """The trial of the largest value; of equal ones the cheapest, then the earliest."""
        scored = self.scored(records)
        best = max(scored, key=lambda each: (each[1].value, -each[1].cost), default=None)
        return best[0] if best else None

    def front(self, records: Iterable[TrialRecord]) -> list[TrialRecord]:
        """The trials that none beats in value at their cost, cheapest first; equal: the earliest.

        Where cost is no objective, the best trial alone.
        """
        if self._objective.cost is None:
            best = self.best(records)
            return [best] if best else []
        return pareto_front(
            (record, score.value, score.cost) for record, score in self.scored(records)
        )

    def _step(self, record: TrialRecord) -> int | None:
        last_growth = self._last_growth(record)
        if last_growth is None:
            return None
        grown = record.best(self._objective.value, since=last_growth + 1)
        return record.best(self._objective.value) if grown is None else grown

    def _last_growth(self, record: TrialRecord) -> int | None:
        """The update of a student's last growth, 0 where it never grows; None: bad point."""
        if self._configure is None:
            return 0
        if record.name not in self._last_growths:
            try:
                # The point as proposed: copies are made after the last growth of every point.
                steps = self._configure(record.point_at(0)).growth_steps()
                self._last_growths[record.name] = max(steps, default=0)
            except ValueError:
                self._last_growths[record.name] = None
        return self._last_growths[record.name]
