"""How a running study stands: its best, its front, the time left."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tune_sr.cli.formatting import footnote_marks
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.objectives.objective import Objective
from tune_sr.objectives.pareto import pareto_front


@dataclass(frozen=True, kw_only=True)
class StudyOutline:
    """What a study is held against: known before it starts."""

    name: str
    trials: int
    """How many trials the study is to have, those of earlier starts included."""
    steps: int
    """Student updates of a whole trial."""
    objective: str = "psnr_y_db"
    cost: str | None = None
    """The key of reports that is to be small; None where there is none."""
    bicubic: float | None = None
    teacher: float | None = None
    """The objective's two marks, in dB; None where there is none."""
    rungs: tuple[int, ...] = ()
    """Student steps at which the scheduler may stop a trial."""

    def gain(self, value: float) -> str:
        """` (+0.84 over bicubic)`, or nothing without that mark."""
        return "" if self.bicubic is None else f" ({value - self.bicubic:+.2f} over bicubic)"


@dataclass
class StudyStatus:
    """The study as it stands, folded from its ledger."""

    outline: StudyOutline
    history: History = field(default_factory=History)
    began: float | None = None
    """When this driver started, seconds since 1970."""
    work_before: float = 0.0
    """Trials' worth of work that earlier drivers had done."""
    _best: dict[str, int] = field(default_factory=dict)
    """By trial: the step of its best report so far."""

    def __post_init__(self) -> None:
        self.history.keys = Objective(self.outline.objective, self.outline.cost).keys

    def apply(self, event: Event) -> bool:
        """Take an event into account; whether it repeats a report."""
        if event["event"] == "driver_started":
            self.began, self.work_before = event["time"], self.work_done()
        record = self.history.trials.get(event.get("trial", ""))
        told = {} if record is None else record.reports
        repeated = event["event"] == "reported" and event["step"] in told
        self.history.apply(event)
        if event["event"] == "reported" and not repeated:
            self._look(event["trial"], event["step"], event["report"].get(self.outline.objective))
        return repeated

    def _look(self, trial: str, step: int, value: float | None) -> None:
        if value is None or not math.isfinite(value):
            return
        best, reports = self._best.get(trial), self.history.trials[trial].reports
        standing = -math.inf if best is None else reports[best].report[self.outline.objective]
        if best is None or (value, -step) > (standing, -best):
            self._best[trial] = step

    def figure(self, record: TrialRecord, value: float) -> str:
        """A trial's value with the mark of its caveat, and what it gains over bicubic."""
        return f"{value:.2f}{self.footnote_mark(record)}{self.outline.gain(value)}"

    def footnote_mark(self, record: TrialRecord) -> str:
        """What stands behind a trial's figures and leads to its footnote; nothing without one."""
        return self._marks().get(record.caveat, "") if record.caveat else ""

    def footnotes(self) -> list[str]:
        """The caveats of the trials so far, each once behind its mark."""
        return [f"{mark} {caveat}" for caveat, mark in self._marks().items()]

    def _marks(self) -> dict[str, str]:
        return footnote_marks(record.caveat for record in self.history.trials.values())

    def value_of(self, record: TrialRecord) -> float | None:
        """A trial's best report so far."""
        step = self._best.get(record.name)
        return None if step is None else record.reports[step].report[self.outline.objective]

    def cost_of(self, record: TrialRecord) -> float | None:
        """What the student of a trial's best report so far costs, where that is an objective."""
        step = self._best.get(record.name)
        if self.outline.cost is None or step is None:
            return None
        return record.reports[step].report[self.outline.cost]

    def best(self) -> tuple[TrialRecord, float] | None:
        """The trial with the best report so far, failed ones left out; of equal ones the first.

        Of equal ones the cheapest, where cost is an objective.
        """
        return max(
            self._valued(),
            key=lambda pair: (pair[1], -(self.cost_of(pair[0]) or 0.0), -pair[0].number),
            default=None,
        )

    def front(self) -> list[TrialRecord]:
        """The trials so far that none beats at their cost, cheapest first; without one the best."""
        best = self.best()
        if self.outline.cost is None or best is None:
            return [best[0]] if best else []
        return pareto_front(
            (each, value, self.cost_of(each) or 0.0) for each, value in self._valued()
        )

    def _valued(self) -> list[tuple[TrialRecord, float]]:
        """Every trial that has not failed with its best report so far, where there is one."""
        trials = (each for each in self.history.trials.values() if each.state != "failed")
        values = ((record, self.value_of(record)) for record in trials)
        return [(record, value) for record, value in values if value is not None]

    def ended(self) -> int:
        """How many trials have ended, in whatever way."""
        return sum(record.state is not None for record in self.history.trials.values())

    def work_done(self) -> float:
        """Trials' worth of work: an ended trial is one, however early it ended."""
        return sum(
            1.0 if record.state else min(1.0, max(record.reports, default=0) / self.outline.steps)
            for record in self.history.trials.values()
        )

    def seconds_left(self, now: float) -> float | None:
        """How long the rest takes if it goes as it has gone since this driver started."""
        done = self.work_done()
        if self.began is None or done <= self.work_before or self.history.finished:
            return None
        pace = (now - self.began) / (done - self.work_before)
        return max(0.0, pace * (self.outline.trials - done))
