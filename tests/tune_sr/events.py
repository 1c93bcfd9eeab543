"""Events as tests write them: each kind with defaults for what a test leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_sr.ledger.events import DriverStarted as Driver
from tune_sr.ledger.events import (
    Event,
    NewEvent,
    PointAsked,
    State,
    StopAsked,
    StudyEnded,
    StudyStarted,
    TrialAdded,
    TrialAttempt,
    TrialCloned,
    TrialEnded,
    TrialReported,
    TrialRetried,
    TrialsTaken,
    TrialStarted,
)
from tune_sr.ledger.history import trial_name
from tune_sr.ledger.repeats import repeat_name
from tune_sr.ledger.reports import Decision, Judged
from tune_sr.space.search_space import EDITION

NO_MARKS: Mapping[str, Any] = {"bicubic": None, "teacher": None}


class _Older(StudyStarted):
    """The first event as older versions wrote it, without an identity or without digests."""

    def to_dict(self, time: float) -> Event:
        """The event without what is None."""
        event = super().to_dict(time)
        return {key: value for key, value in event.items() if value is not None}


def study_started(
    space: Mapping[str, Any] | None = None,
    *,
    name: str = "toy",
    identity: str | None = "1" * 32,
    marks: Mapping[str, Any] = NO_MARKS,
    digests: Mapping[str, str] | None = None,
    edition: int | None = EDITION,
) -> StudyStarted:
    """The first event of a study with seed 0; of an older one where something is None."""
    whole = identity is not None and digests is not None
    made: Any = StudyStarted if whole else _Older
    space = space or {}
    whatever = {"marks": marks, "digests": digests, "edition": edition}
    return made(name=name, id=identity, space=space, seed=0, **whatever)


def driver_started(start: int = 1, study: Mapping[str, Any] | None = None, pid: int = 1) -> Driver:
    """The event of the driver number `start`, from 1."""
    return Driver(host="here", pid=pid, start=start, study=study or {})


def taken(point: Mapping[str, Any], score: float) -> TrialsTaken:
    """The searcher begins with one trial of another study."""
    return TrialsTaken(
        study="runs/x2", trials=[{"point": point, "score": score}], of=1, misfits={"method.tau": 1}
    )


def added(
    number: int, point: Mapping[str, Any] | None = None, caveat: str | None = None
) -> TrialAdded:
    """Trial `number` at `point`."""
    name = trial_name(number)
    return TrialAdded(trial=name, number=number, point=point or {}, caveat=caveat)


def repeat(of: int, number: int, point: Mapping[str, Any] | None = None) -> TrialAdded:
    """Repeat `number`, from 1, of trial `of`."""
    name = repeat_name(trial_name(of), number)
    point = {**(point or {}), "seed": number}
    return TrialAdded(trial=name, number=number, point=point, repeats=trial_name(of))


def attempt(number: int, reason: str = "its process was lost", count: int = 2) -> TrialAttempt:
    """Trial `number` begins again."""
    return TrialAttempt(trial=trial_name(number), attempt=count, reason=reason)


def started(
    number: int, node: str = "here", gpu: str | None = None, count: int = 1
) -> TrialStarted:
    """Attempt `count` of trial `number` has begun."""
    return TrialStarted(trial=trial_name(number), node=node, gpu=gpu, attempt=count)


def reported(
    number: int,
    step: int,
    report: float | Mapping[str, Any],
    decision: Decision = "continue",
    judged: Judged | None = None,
) -> TrialReported:
    """A report of trial `number`; a number is its PSNR."""
    if not isinstance(report, Mapping):
        report = {"step": step, "psnr_y_db": report}
    made = TrialReported(trial=trial_name(number), step=step, report=report, decision=decision)
    made.judged = None if judged is None else judged.to_dict()
    return made


def cloned(
    number: int, source: int, step: int, point: Mapping[str, Any], caveat: str | None = None
) -> TrialCloned:
    """Trial `number` goes on as a copy of trial `source`."""
    names = {"trial": trial_name(number), "source": trial_name(source)}
    return TrialCloned(**names, step=step, point=point, caveat=caveat)


def ended(number: int, state: State = "completed", reason: str | None = None) -> TrialEnded:
    """Trial `number` ends."""
    return TrialEnded(trial=trial_name(number), state=state, reason=reason)


def retried(number: int, reason: str | None = None) -> TrialRetried:
    """Trial `number`, which failed, is opened again."""
    return TrialRetried(trial=trial_name(number), reason=reason)


def stop_asked(number: int, request: str = "1") -> StopAsked:
    """A person asks for the end of trial `number`."""
    return StopAsked(trial=trial_name(number), request=request)


def point_asked(point: Mapping[str, Any], request: str = "2") -> PointAsked:
    """A person asks for a point."""
    return PointAsked(point=point, request=request)


def study_ended(finished: bool = True) -> StudyEnded:
    """The last event of a driver."""
    return StudyEnded(finished=finished)


def as_read(event: NewEvent, time: float = 0.0) -> Event:
    """The event as a reader of its ledger gets it; `time` in seconds since 1970."""
    return event.to_dict(time)


def read(*events: NewEvent) -> list[Event]:
    """The events as a reader of their ledger gets them, written a second apart from 0 on."""
    return [each.to_dict(float(place)) for place, each in enumerate(events)]
