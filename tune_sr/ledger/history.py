"""What the events of a study add up to: its trials, their reports and their ends."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tune_sr.ledger.events import Event, State
from tune_sr.ledger.reports import Reported, pack

_ENDED_BY: Mapping[str, State] = {"stop": "stopped", "complete": "completed"}


class Clone(NamedTuple):
    """A trial's turn into a copy of another, from its report at `step` on."""

    step: int
    source: str
    point: Mapping[str, Any]
    """Its point until then."""
    caveat: str | None
    """Its caveat until then."""


@dataclass
class TrialRecord:
    """One trial as the ledger knows it."""

    name: str
    number: int
    point: Mapping[str, Any]
    """Dotted path to value; active quantities only. Where it was cloned: what it is now."""
    reports: Mapping[int, Reported] = field(default_factory=dict)
    """By student step; the first report of a step counts."""
    state: State | None = None
    """None while it runs. Set by `trial_ended`, or by a final decision whose end is missing."""
    reason: str | None = None
    attempts: int = 0
    """How often it had to begin again (preempted, process lost, out of memory)."""
    micro_batch: int | None = None
    """Images that pass through a network at a time since it ran out of memory; None: all."""
    caveat: str | None = None
    """What must be known to hold its result against the paper's; None if nothing."""
    clones: list[Clone] = field(default_factory=list)

    def point_at(self, step: float) -> Mapping[str, Any]:
        """The point that the report at `step` was made with."""
        return next((each.point for each in self.clones if step <= each.step), self.point)

    def caveat_at(self, step: float) -> str | None:
        """The caveat of the report at `step`."""
        return next((each.caveat for each in self.clones if step <= each.step), self.caveat)

    def best(self, objective: str, *, since: int = 0, until: float = math.inf) -> int | None:
        """The step of the best finite `objective` with `since` <= step <= `until`; ties: earlier.

        None where no such report has a finite value.
        """
        values = {
            step: reported.report.get(objective, math.nan)
            for step, reported in self.reports.items()
            if since <= step <= until
        }
        finite = [step for step, value in values.items() if math.isfinite(value)]
        return max(finite, key=lambda step: (values[step], -step), default=None)

    def score_step(self, objective: str, last_growth: int = 0) -> int | None:
        """The step of the report that is this trial's score.

        Its best report after the student's last growth (update number `last_growth`, from 0, is
        the first of the grown student); of a trial stopped before that, its best report. None
        without a finite report, and for a failed trial, which has no score.
        """
        if self.state == "failed":
            return None
        grown = self.best(objective, since=last_growth + 1)
        return self.best(objective) if grown is None else grown


@dataclass
class History:
    """What a study's events add up to: a pure fold, the same live as when a ledger is read back."""

    trials: dict[str, TrialRecord] = field(default_factory=dict)
    """By name, in order of addition."""
    reached: defaultdict[int, list[TrialRecord]] = field(default_factory=lambda: defaultdict(list))
    """By student step: the trials that have reported at it, in the order of these reports."""
    study: Mapping[str, Any] | None = None
    """The event `study_started`."""
    starts: int = 0
    """How many drivers have worked on it."""
    repeats: int = 0
    """Reports of a (trial, step) that had been reported before: work that kills made twice."""
    finished: bool = False
    """Whether the last word is a `study_ended` that says so."""
    keys: Collection[str] | None = None
    """Which figures of a report are kept; None: all. Who reads along to the end needs few."""
    _free: int = 0
    """No trial is missing below this number."""

    @classmethod
    def from_events(cls, events: Iterable[Event], keys: Collection[str] | None = None) -> History:
        """The fold of `events`, oldest first.

        >>> added = {"event": "trial_added", "trial": "0000", "number": 0, "point": {}}
        >>> ended = {"event": "trial_ended", "trial": "0000", "state": "failed"}
        >>> History.from_events([added, ended]).trials["0000"].state
        'failed'
        """
        history = cls(keys=keys)
        for event in events:
            history.apply(event)
        return history

    def apply(self, event: Event) -> None:
        """Take one more event into account; kinds this version does not know change nothing."""
        kind = event["event"]
        if kind == "study_started":
            self.study = event
        elif kind == "driver_started":
            self.starts += 1
            self.finished = False
        elif kind == "study_ended":
            self.finished = bool(event["finished"])
        elif kind == "trial_added":
            record = TrialRecord(event["trial"], event["number"], event["point"])
            record.caveat = event.get("caveat")
            self.trials.setdefault(record.name, record)
        elif kind == "attempt":
            record = self.trials[event["trial"]]
            record.attempts += 1
            record.micro_batch = event.get("micro_batch", record.micro_batch)
        elif kind == "reported":
            self._reported(self.trials[event["trial"]], event)
        elif kind == "cloned":
            record = self.trials[event["trial"]]
            before = record.point, record.caveat
            record.clones.append(Clone(event["step"], event["from"], *before))
            record.point, record.caveat = event["point"], event["caveat"]
        elif kind == "retried":
            record = self.trials[event["trial"]]
            record.state = record.reason = None
        elif kind == "trial_ended":
            record = self.trials[event["trial"]]
            record.state, record.reason = event["state"], event.get("reason")
            if self.keys is not None:
                record.reports = pack(record.reports)

    def _reported(self, record: TrialRecord, event: Event) -> None:
        step = event["step"]
        if step in record.reports:
            self.repeats += 1
            return
        told = event["report"]
        keys = told if self.keys is None else [key for key in self.keys if key in told]
        report = {key: math.nan if told[key] is None else told[key] for key in keys}
        if not isinstance(record.reports, dict):  # packed: it had ended before
            record.reports = dict(record.reports)
        record.reports[step] = Reported(report, event["decision"])
        self.reached[step].append(record)
        if record.state is None:
            record.state = _ENDED_BY.get(event["decision"])

    def free_number(self) -> int:
        """The number of the next trial: the lowest that none has.

        It is how many there are, but where a damaged line took one of them.
        """
        while trial_name(self._free) in self.trials:
            self._free += 1
        return self._free

    def running(self) -> list[TrialRecord]:
        """Trials added and not ended, by number: what a resume issues again first."""
        return sorted(
            (record for record in self.trials.values() if record.state is None),
            key=lambda record: record.number,
        )


def trial_name(number: int) -> str:
    """The name of trial `number`, counted from 0 over the whole study: `0000`, `0001`, ..."""
    return f"{number:04d}"
