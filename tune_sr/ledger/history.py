"""What the events of a study add up to: its trials, their reports and their ends."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tune_sr.ledger import events as kinds
from tune_sr.ledger.asked import Asked
from tune_sr.ledger.events import Event, State, typed
from tune_sr.ledger.json_types import is_number
from tune_sr.ledger.reports import Judged, Reported, pack
from tune_sr.ledger.usage import Usage

_ENDED_BY: Mapping[str, State] = {"stop": "stopped", "complete": "completed"}


class Clone(NamedTuple):
    """A trial's turn into a copy of another, from its report at `step` on."""

    step: int
    source: str
    point: Mapping[str, Any]
    """Its point until then."""
    caveat: str | None
    """Its caveat until then."""


class Taken(NamedTuple):
    """A trial of another study: its point, and the normal quantile of its rank there."""

    point: Mapping[str, Any]
    score: float

    @staticmethod
    def fits(read: Mapping[str, Any]) -> bool:
        """Whether an object read from JSON is one."""
        point, score = read.get("point"), read.get("score")
        return set(read) == set(Taken._fields) and isinstance(point, Mapping) and is_number(score)


class Place(NamedTuple):
    """Where one attempt of a trial ran."""

    attempt: int
    """1 for the first one."""
    node: str | None
    gpu: str | None
    """Numbers of its GPUs on that machine; None: none."""
    began: float
    """When it began, in seconds since 1970."""


@dataclass(slots=True)
class TrialRecord:
    """One trial as the ledger knows it; times are in seconds since 1970."""

    name: str
    number: int
    point: Mapping[str, Any]
    """Dotted path to value; active quantities only. Since a clone: that of the copy."""
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
    places: list[Place] = field(default_factory=list)
    """Where its attempts ran, in order; empty in ledgers of earlier versions."""
    added_at: float = 0.0
    ended_at: float | None = None
    """When it got its state; None while it runs."""
    end_written: bool = False
    """Whether its end has an event of its own."""
    retries: int = 0
    """How often it was opened again after it had failed."""
    stop_asked: bool = False
    """Whether a person has asked for its end."""
    repeats: str | None = None
    """What it repeats with another seed: a trial, or one with a quantity set back, by the names of
    `repeats`; None for a trial of the search."""

    @property
    def stopped_by(self) -> tuple[int, Judged] | None:
        """The step of the rung that stopped it, and how it stood there.

        None where none did, and in ledgers of earlier versions.
        """
        step = max(self.reports, default=None)
        if self.state != "stopped" or step is None:
            return None
        judged = self.reports[step].judged
        return None if judged is None else (step, judged)

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

    def end(self, time: float, state: State, reason: str | None = None) -> None:
        """Give it its state; `ended_at` stays where an event repeats the end that it has."""
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason, self.ended_at = state, reason, time


@dataclass
class History:
    """What a study's events add up to: a pure fold, the same live as when a ledger is read back."""

    trials: dict[str, TrialRecord] = field(default_factory=dict)
    """By name, in order of addition; repeats of a confirmation are none of them."""
    confirmation: History | None = None
    """The repeats of trials with other seeds, apart, so that neither searcher nor scheduler, best
    trial or count includes them; None before the first one."""
    reached: defaultdict[int, list[TrialRecord]] = field(default_factory=lambda: defaultdict(list))
    """By student step: the trials that have reported at it, in the order of these reports."""
    taken: list[Taken] = field(default_factory=list)
    """Trials of another study with which the searcher begins; they count nowhere else."""
    asked: Asked = field(default_factory=Asked)
    """What persons have asked for."""
    study: Mapping[str, Any] | None = None
    """The event `study_started`."""
    starts: int = 0
    """How many drivers have worked on it."""
    repeats: int = 0
    """Reports of a (trial, step) that had been reported before: work repeated after a kill."""
    finished: bool = False
    """Whether the last driver ended with nothing left to do."""
    usage: Usage = field(default_factory=Usage)
    keys: Collection[str] | None = None
    """Which figures of a report are kept; None: all. Few keep a study of many trials small."""
    _free: int = 0
    """No trial is missing below this number."""

    @classmethod
    def from_events(cls, events: Iterable[Event], keys: Collection[str] | None = None) -> History:
        """The fold of `events`, oldest first.

        >>> added = {"event": "trial_added", "time": 0, "trial": "0000", "number": 0, "point": {}}
        >>> ended = {"event": "trial_ended", "time": 1, "trial": "0000", "state": "failed"}
        >>> History.from_events([added, ended]).trials["0000"].state
        'failed'
        """
        history = cls(keys=keys)
        for event in events:
            history.apply(event)
        return history

    def apply(self, event: Event) -> None:
        """Take one more event into account; kinds this version does not know change nothing."""
        time: float = event["time"]
        new = typed(event)
        match new:
            case kinds.StudyStarted():
                self.study = event
            case kinds.DriverStarted(study=settings):
                self.starts += 1
                self.finished = False
                self.usage.start(time, (settings or {}).get("gpus_per_trial", 0.0))
            case kinds.TrialsTaken(trials=trials):
                self.taken = [Taken(**each) for each in trials if Taken.fits(each)]
            case kinds.StudyEnded(finished=finished):
                self.finished = finished
                self.usage.release_all(time)
            case kinds.TrialAdded(trial=name) | kinds.TrialAttempt(trial=name):
                self.usage.issue(name, time)
            case kinds.TrialEnded(trial=name):
                self.usage.release(name, time)
        self.asked.apply(new)
        self.usage.last = time
        if isinstance(new, kinds.TrialAdded) and new.repeats and self.confirmation is None:
            self.confirmation = History(keys=self.keys)
        of_confirmation = self._of_confirmation(new)
        if of_confirmation is None:
            self._apply_to_trials(new, time)
        else:
            before = of_confirmation.repeats
            of_confirmation._apply_to_trials(new, time)
            self.repeats += of_confirmation.repeats - before

    def record(self, name: str) -> TrialRecord:
        """The trial, or the repeat of one, that has a name."""
        repeats = {} if self.confirmation is None else self.confirmation.trials
        return repeats[name] if name in repeats else self.trials[name]

    def all_records(self) -> list[TrialRecord]:
        """The trials of the search, then the repeats of its confirmation."""
        return [
            *self.trials.values(),
            *(self.confirmation.trials.values() if self.confirmation else ()),
        ]

    def _of_confirmation(self, event: kinds.NewEvent | None) -> History | None:
        """The confirmation, for an event of one of its repeats."""
        if isinstance(event, kinds.TrialAdded):
            return self.confirmation if event.repeats else None
        known = {} if self.confirmation is None else self.confirmation.trials
        return self.confirmation if getattr(event, "trial", None) in known else None

    def _apply_to_trials(self, event: kinds.NewEvent | None, time: float) -> None:
        match event:
            case kinds.TrialReported() as reported:
                self._report(self.trials[reported.trial], reported, time)
            case kinds.TrialAdded(trial=name, number=number, point=point, caveat=caveat):
                record = TrialRecord(name, number, point, caveat=caveat, added_at=time)
                record.repeats = event.repeats
                self.trials.setdefault(name, record)
            case kinds.TrialAttempt(trial=name, micro_batch=micro_batch):
                record = self.trials[name]
                record.attempts += 1
                record.micro_batch = micro_batch or record.micro_batch
            case kinds.TrialStarted(trial=name, node=node, gpu=gpu, attempt=attempt, began=began):
                place = Place(attempt, node, gpu, time if began is None else began)
                self.trials[name].places.append(place)
            case kinds.TrialCloned() as clone:
                record = self.trials[clone.trial]
                record.clones.append(Clone(clone.step, clone.source, record.point, record.caveat))
                record.point, record.caveat = clone.point, clone.caveat
            case kinds.TrialRetried(trial=name):
                record = self.trials[name]
                record.state = record.reason = record.ended_at = None
                record.end_written = False
                record.retries += 1
            case kinds.StopAsked(trial=name):
                self.trials[name].stop_asked = True
            case kinds.TrialEnded(trial=name, state=state, reason=reason):
                record = self.trials[name]
                record.end(time, state, reason)
                record.end_written = True
                if self.keys is not None:
                    record.reports = pack(record.reports)

    def _report(self, record: TrialRecord, made: kinds.TrialReported, time: float) -> None:
        if made.step in record.reports:
            self.repeats += 1
            return
        values = made.report
        keys = values if self.keys is None else [key for key in self.keys if key in values]
        report = {key: math.nan if (value := values[key]) is None else value for key in keys}
        if not isinstance(record.reports, dict):  # packed: it had ended before
            record.reports = dict(record.reports)
        judged = Judged.from_dict(made.judged)
        record.reports[made.step] = Reported(report, made.decision, time, judged)
        self.reached[made.step].append(record)
        if record.state is None and made.decision in _ENDED_BY:
            record.end(time, _ENDED_BY[made.decision])

    def free_number(self) -> int:
        """The number of the next trial: the lowest that none has.

        It is how many there are, unless a damaged line took one of them.
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
