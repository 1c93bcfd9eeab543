"""How a running study stands, and the plain line that tells each of its events."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tune_sr.ledger import Event, History, TrialRecord
from tune_sr.objectives import Objective, front


@dataclass(frozen=True, kw_only=True)
class Frame:
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
class Board:
    """The study as it stands, folded from its ledger, with a plain line for every event."""

    frame: Frame
    history: History = field(default_factory=History)
    began: float | None = None
    """When this driver started, seconds since 1970."""
    work_before: float = 0.0
    """Trials' worth of work that earlier drivers had done."""
    _best: dict[str, int] = field(default_factory=dict)
    """By trial: the step of its best report so far."""

    def __post_init__(self) -> None:
        self.history.keys = Objective(self.frame.objective, self.frame.cost).keys

    def apply(self, event: Event) -> str | None:
        """Take an event into account; returns the line that tells it, None if it is not told."""
        if event["event"] == "driver_started":
            self.began, self.work_before = event["time"], self.work_done()
        record = self.history.trials.get(event.get("trial", ""))
        told = {} if record is None else record.reports
        repeated = event["event"] == "reported" and event["step"] in told
        self.history.apply(event)
        if event["event"] == "reported" and not repeated:
            self._look(event["trial"], event["step"], event["report"].get(self.frame.objective))
        line = self._trial_line(event) if "trial" in event else self._study_line(event)
        return f"{line} (repeated)" if repeated else line

    def _look(self, trial: str, step: int, value: float | None) -> None:
        if value is None or not math.isfinite(value):
            return
        best, reports = self._best.get(trial), self.history.trials[trial].reports
        standing = -math.inf if best is None else reports[best].report[self.frame.objective]
        if best is None or (value, -step) > (standing, -best):
            self._best[trial] = step

    def _study_line(self, event: Event) -> str | None:
        frame, ended = self.frame, self.ended()
        if event["event"] == "driver_started" and self.history.starts > 1:
            start = f"resumed (start {self.history.starts})"
            line = f"study {frame.name} {start}: {ended} of {frame.trials} trials have ended"
            return "\n".join((line, *self.footnotes()))
        if event["event"] == "study_ended":
            how, best = "finished" if event["finished"] else "not finished", self.best()
            told = f"{self._told(best[0])}, trial {best[0].name}" if best else "no report"
            told += f"; a front of {len(self.front())}" if frame.cost and best else ""
            return f"study {frame.name} {how}: {ended} of {frame.trials} trials ended, {told}"
        return None

    def _trial_line(self, event: Event) -> str | None:
        kind, trial = event["event"], f"trial {event['trial']}"
        record = self.history.trials[event["trial"]]
        if kind == "trial_added":
            point = (f"{path}={short(value)}" for path, value in event["point"].items())
            line = " ".join((trial, "added", *point))
            return "\n".join((line, *self._new_footnote(record)))
        if kind == "attempt":
            return f"{trial} attempt {event.get('attempt')}: {event.get('reason')}"
        if kind == "retried":
            return f"{trial} is tried again; it had failed: {event.get('reason')}"
        if kind == "reported":
            value = event["report"].get(self.frame.objective)
            told = "none" if value is None else self.figure(record, value)
            where = f"step {event['step']}/{self.frame.steps} {self.frame.objective}"
            return f"{trial} {where} {told} {event['decision']}"
        if kind == "cloned":
            point = (f"{path}={short(value)}" for path, value in event["point"].items())
            line = " ".join((trial, "goes on as a copy of", event["from"], *point))
            return "\n".join((line, *self._new_footnote(record)))
        if kind == "trial_ended":
            reason = f": {event['reason']}" if event.get("reason") else ""
            return f"{trial} {event['state']}{reason}, {self._told(record)}"
        return None

    def _told(self, record: TrialRecord) -> str:
        value = self.value_of(record)
        return "no report" if value is None else f"best {self.figure(record, value)}"

    def figure(self, record: TrialRecord, value: float) -> str:
        """A trial's value with the mark of its caveat, and what it gains over bicubic."""
        return f"{value:.2f}{self.mark(record)}{self.frame.gain(value)}"

    def mark(self, record: TrialRecord) -> str:
        """What stands behind a trial's figures and leads to its footnote; nothing without one."""
        return self._marks().get(record.caveat, "") if record.caveat else ""

    def footnotes(self) -> list[str]:
        """The caveats of the trials so far, each once behind its mark."""
        return [f"{mark} {caveat}" for caveat, mark in self._marks().items()]

    def _marks(self) -> dict[str, str]:
        return footnote_marks(record.caveat for record in self.history.trials.values())

    def _new_footnote(self, record: TrialRecord) -> list[str]:
        """That of a trial just added, if it is the first with this caveat."""
        same = [each for each in self.history.trials.values() if each.caveat == record.caveat]
        return [f"{self.mark(record)} {record.caveat}"] if record.caveat and len(same) == 1 else []

    def opening(self) -> str:
        """The first plain line: what is going to happen."""
        frame = self.frame
        marks = (("bicubic", frame.bicubic), ("teacher", frame.teacher))
        known = "".join(f", {name} {value:.2f} dB" for name, value in marks if value is not None)
        return f"study {frame.name}: {frame.trials} trials of {frame.steps} steps{known}"

    def value_of(self, record: TrialRecord) -> float | None:
        """A trial's best report so far."""
        step = self._best.get(record.name)
        return None if step is None else record.reports[step].report[self.frame.objective]

    def cost_of(self, record: TrialRecord) -> float | None:
        """What the student of a trial's best report so far costs, where that is an objective."""
        step = self._best.get(record.name)
        if self.frame.cost is None or step is None:
            return None
        return record.reports[step].report[self.frame.cost]

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
        if self.frame.cost is None or best is None:
            return [best[0]] if best else []
        return front((each, value, self.cost_of(each) or 0.0) for each, value in self._valued())

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
            1.0 if record.state else min(1.0, max(record.reports, default=0) / self.frame.steps)
            for record in self.history.trials.values()
        )

    def seconds_left(self, now: float) -> float | None:
        """How long the rest takes if it goes as it has gone since this driver started."""
        done = self.work_done()
        if self.began is None or done <= self.work_before or self.history.finished:
            return None
        pace = (now - self.began) / (done - self.work_before)
        return max(0.0, pace * (self.frame.trials - done))


def footnote_marks(caveats: Iterable[str | None]) -> dict[str, str]:
    """Each different caveat with the mark of its footnote, in order of appearance.

    >>> footnote_marks([None, "of CSD", "of CSD", "of FAKD"])
    {'of CSD': '*', 'of FAKD': '**'}
    """
    different = dict.fromkeys(caveat for caveat in caveats if caveat)
    return {caveat: "*" * number for number, caveat in enumerate(different, start=1)}


def short(value: Any) -> str:
    """A searched value in few characters: a float to four digits.

    >>> short(0.0123456), short(2), short(1.0), short("new")
    ('0.01235', '2', '1', 'new')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)
