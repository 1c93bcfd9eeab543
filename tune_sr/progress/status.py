"""The state of a running study: its best trial, its front, the time left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tune_sr.cli.formatting import footnote_marks
from tune_sr.ledger import events as kinds
from tune_sr.ledger.events import Event, typed
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.objectives.objective import Objective
from tune_sr.objectives.score import Scorer
from tune_sr.progress.time_left import study_updates_left

if TYPE_CHECKING:
    from trainables.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class StudyOutline:
    """What is known of a study before it starts, and its trials are compared with."""

    name: str
    trials: int
    """How many trials the study is to have, those of earlier starts included."""
    repeats: int = 0
    """How many repeats of trials its confirmation is to have."""
    steps: int
    """Student updates of a whole trial."""
    objective: str = "psnr_y_db"
    cost: str | None = None
    """The key of reports that is to be small; None where there is none."""
    bicubic: float | None = None
    teacher: float | None = None
    """The objective's two reference scores, in dB; None where there is none."""
    expected_steps: float | None = None
    """Student updates of a trial on average, on simulated curves; None: all of them."""
    rungs: tuple[int, ...] = ()
    """Student steps at which the scheduler may stop a trial."""
    configure: Callable[[Mapping[str, Any]], TrialConfig] | None = None
    """Point -> whole configuration, in which is when a student grows; None: none grows."""

    def gain(self, value: float) -> str:
        """` (+0.84 over bicubic)`, or nothing without that reference score."""
        return "" if self.bicubic is None else f" ({value - self.bicubic:+.2f} over bicubic)"


class StudyStatus:
    """The state of a study, computed from the events of its ledger.

    Args:
        outline: what is known before it starts.
    """

    def __init__(self, outline: StudyOutline) -> None:
        objective = Objective(outline.objective, outline.cost)
        self.outline = outline
        self.history = History(keys=objective.keys)
        self._scorer = Scorer(objective, outline.configure)
        self._updates_before = 0
        self._first: float | None = None
        """When this driver issued its first trial."""
        self._latest = 0.0
        """When the latest report came."""

    def apply(self, event: Event) -> bool:
        """Take an event into account; return whether it repeats a report."""
        starts, repeats = self.history.starts, self.history.repeats
        self.history.apply(event)
        match typed(event):
            case kinds.TrialAdded() | kinds.TrialAttempt() if self._first is None:
                self._first = event["time"]
            case kinds.TrialReported():
                self._latest = event["time"]
        if self.history.starts > starts:
            self._updates_before, self._first = self._updates(), None
        return self.history.repeats > repeats

    @property
    def began(self) -> float | None:
        """When this driver started, in seconds since 1970; None before it did."""
        return self.history.usage.began

    def figure(self, record: TrialRecord, value: float) -> str:
        """A trial's value with the mark of its caveat, and what it gains over bicubic."""
        return f"{value:.2f}{self.footnote_mark(record)}{self.outline.gain(value)}"

    def footnote_mark(self, record: TrialRecord) -> str:
        """The mark behind a trial's figures that refers to its footnote; empty without one."""
        return self._marks().get(record.caveat, "") if record.caveat else ""

    def footnotes(self) -> list[str]:
        """The caveats of the trials so far, each once behind its mark."""
        return [f"{mark} {caveat}" for caveat, mark in self._marks().items()]

    def _marks(self) -> dict[str, str]:
        return footnote_marks(record.caveat for record in self.history.trials.values())

    def value_of(self, record: TrialRecord) -> float | None:
        """The value that a trial is judged by so far, also where it failed; None without one."""
        judged = self._scorer.judged(record)
        return judged and judged.value

    def cost_of(self, record: TrialRecord) -> float | None:
        """The cost in the report that a trial is judged by; None where it is no objective."""
        judged = self._scorer.judged(record)
        return judged.cost if judged and self.outline.cost else None

    def best(self) -> tuple[TrialRecord, float] | None:
        """The best trial so far with its value, by the rule of the results."""
        best = self._scorer.best(self.history.trials.values())
        value = None if best is None else self.value_of(best)
        return None if best is None or value is None else (best, value)

    def front(self) -> list[TrialRecord]:
        """The trials so far that none beats at their cost, cheapest first; else the best alone."""
        return self._scorer.front(self.history.trials.values())

    @property
    def trials(self) -> int:
        """How many trials the study is to have, with those that persons asked for."""
        return self.outline.trials + len(self.history.asked.points)

    def ended(self) -> int:
        """How many trials have ended, in whatever way."""
        return sum(record.state is not None for record in self.history.trials.values())

    def last_value(self, record: TrialRecord) -> float | None:
        """The objective in a trial's latest report; None where it is not finite, or has none."""
        if not record.reports:
            return None
        value = record.reports[max(record.reports)].report.get(self.outline.objective, math.nan)
        return value if math.isfinite(value) else None

    def seconds_left(self, now: float) -> float | None:
        """How long the rest takes at the pace since this driver's first trial; None: not known yet.

        The pace is that of all trials which run at a time together, up to the latest report, so
        that the estimate falls between two reports as time passes. What is left is estimated from
        the trials that have ended and, before them, from simulated curves.
        """
        done = self._updates() - self._updates_before
        if self._first is None or done <= 0 or self.history.finished:
            return None
        pace = max(0.0, self._latest - self._first) / done
        return max(0.0, pace * self._updates_left() - max(0.0, now - self._latest))

    def _updates(self) -> int:
        return sum(map(_updates_of, self.history.all_records()))

    def _updates_left(self) -> float:
        outline, confirmation = self.outline, self.history.confirmation
        trials = self.history.trials.values()
        left = study_updates_left(
            [_updates_of(record) for record in trials if record.state is None],
            [_updates_of(record) for record in trials if record.state is not None],
            self.trials,
            outline.steps,
            outline.expected_steps or outline.steps,
        )
        begun = [] if confirmation is None else list(confirmation.trials.values())
        made = sum(_updates_of(each) if each.state is None else outline.steps for each in begun)
        return left + max(0, outline.repeats * outline.steps - made)


def _updates_of(record: TrialRecord) -> int:
    return max(record.reports, default=0)
