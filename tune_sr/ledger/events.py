"""The kinds of event in a study's ledger, and the JSON line of each.

A kind is a dataclass. Its fields, in their order, are the keys of the line behind `event` and
`time`; their types are what a reader requires of the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, NamedTuple, get_type_hints

from tune_sr.ledger.json_types import check_of
from tune_sr.ledger.reports import Decision

Event = dict[str, Any]
"""One line of a ledger as read: `event` is its kind, `time` is in seconds since 1970."""
State = Literal["completed", "stopped", "failed"]
"""How a trial ended."""


def _optional() -> Any:
    """A field that a line may lack, because older versions did not write it."""
    return field(metadata={"required": False})


def _unread() -> Any:
    """A field from which nothing is computed: a line may lack it, and its value is not checked."""
    return field(metadata={"required": False, "checked": False})


@dataclass(kw_only=True, slots=True)
class NewEvent:
    """An event to be written; of its fields, those with a default are left out where None."""

    kind: ClassVar[str]

    def to_dict(self, time: float) -> Event:
        """The event as the object of its line, `time` in seconds since 1970."""
        event: Event = {"event": self.kind, "time": time}
        for each in FIELDS[self.kind]:
            value = getattr(self, each.name)
            if value is not None or not each.omitted:
                event[each.key] = value
        return event


@dataclass(kw_only=True, slots=True)
class StudyStarted(NewEvent):
    """The study was begun: the first event of a ledger."""

    kind: ClassVar[str] = "study_started"
    name: str = _unread()
    id: str = _unread()
    """32 hexadecimal digits that tell this study from another one of its name."""
    space: Mapping[str, Any]
    """The search space with every default filled in."""
    seed: int = _unread()
    marks: Mapping[str, Any] = _optional()
    """Reference scores: the reports of `bicubic` and `teacher`, None where there is none."""
    digests: Mapping[str, Any] = _optional()
    """Of the files that its trials read, by path."""
    starts: Mapping[str, str] | None = None
    """What of each file that students start from was taken and left out, by file; None: no file."""
    edition: int | None = None
    """The edition of defaults that its trials have, as in `SearchSpace`; None: the first."""


@dataclass(kw_only=True, slots=True)
class DriverStarted(NewEvent):
    """A driver began to work on the study."""

    kind: ClassVar[str] = "driver_started"
    host: str = _unread()
    pid: int = _unread()
    start: int = _unread()
    """How many drivers have been started, this one included."""
    study: Mapping[str, Any] = _optional()
    """The settings of this start: the section `study` of the space."""
    digests: Mapping[str, Any] | None = None
    """Of files that no earlier start met."""


@dataclass(kw_only=True, slots=True)
class TrialsTaken(NewEvent):
    """The searcher begins with trials of another study."""

    kind: ClassVar[str] = "trials_taken"
    study: str
    """Folder of the other study."""
    trials: list[Mapping[str, Any]]
    """Objects with a `point` of this space and its `score`: the normal quantile of its rank there.
    """
    of: int = _unread()
    """How many trials the other study had."""
    misfits: Mapping[str, Any] = _optional()
    """By quantity: in how many of them it has no value that this space allows."""


@dataclass(kw_only=True, slots=True)
class TrialAdded(NewEvent):
    """A trial was proposed and is about to run."""

    kind: ClassVar[str] = "trial_added"
    trial: str
    number: int
    point: Mapping[str, Any]
    """Dotted path to value; active quantities only."""
    caveat: str | None = None
    """What must be known to hold its result against the paper's."""
    repeats: str | None = None
    """The trial of the search that it repeats with another seed, to confirm it, or that trial with
    one quantity set back, as `ablated_name` names it; None: it repeats none."""
    request: str | None = None
    """The `point_asked` that it answers; None: a searcher proposed its point."""


@dataclass(kw_only=True, slots=True)
class TrialAttempt(NewEvent):
    """A trial begins again from its newest checkpoint."""

    kind: ClassVar[str] = "attempt"
    trial: str
    attempt: int = _unread()
    """2 for the second attempt."""
    reason: str | None
    micro_batch: int | None = None
    """Images that pass through a network at a time from now on; None: as many as before."""


@dataclass(kw_only=True, slots=True)
class TrialStarted(NewEvent):
    """A trial has begun to run in a process; written as the first result of that process comes."""

    kind: ClassVar[str] = "trial_started"
    trial: str
    node: str | None
    """Name of the machine."""
    gpu: str | None
    """Numbers of the GPUs that Ray gave it there, such as `0` or `0,1`; None: none."""
    attempt: int
    """1 for the first attempt."""
    began: float | None = None
    """When the process turned to the trial by the clock of its machine, in seconds since 1970."""


@dataclass(kw_only=True, slots=True)
class TrialReported(NewEvent):
    """A trial was evaluated, and the scheduler decided how it goes on."""

    kind: ClassVar[str] = "reported"
    trial: str
    step: int
    report: Mapping[str, float | None]
    """Figures by key; None on disk where a value is not finite."""
    decision: Decision
    judged: Mapping[str, float | None] | None = None
    """How it stood at a rung, as `Judged.to_dict`; None where the scheduler was not asked."""


@dataclass(kw_only=True, slots=True)
class TrialCloned(NewEvent):
    """A trial goes on as a changed copy of another (population based training)."""

    kind: ClassVar[str] = "cloned"
    trial: str
    source: str = field(metadata={"key": "from"})
    step: int
    """Student updates of the checkpoint that it continues from."""
    point: Mapping[str, Any]
    caveat: str | None


@dataclass(kw_only=True, slots=True)
class TrialEnded(NewEvent):
    """A trial ended."""

    kind: ClassVar[str] = "trial_ended"
    trial: str
    state: State
    reason: str | None = _optional()


@dataclass(kw_only=True, slots=True)
class TrialRetried(NewEvent):
    """A failed trial is opened again."""

    kind: ClassVar[str] = "retried"
    trial: str
    reason: str | None = _optional()
    """Why it had failed."""


@dataclass(kw_only=True, slots=True)
class StopAsked(NewEvent):
    """A person asked for a trial's end: it comes with its next report, or at the next start."""

    kind: ClassVar[str] = "stop_asked"
    trial: str
    request: str


@dataclass(kw_only=True, slots=True)
class PointAsked(NewEvent):
    """A person asked for a point, which becomes one trial more."""

    kind: ClassVar[str] = "point_asked"
    point: Mapping[str, Any]
    request: str


@dataclass(kw_only=True, slots=True)
class StudyEnded(NewEvent):
    """A driver ended its work on the study."""

    kind: ClassVar[str] = "study_ended"
    finished: bool
    """Whether nothing is left to do."""


KINDS: Mapping[str, type[NewEvent]] = {
    each.kind: each
    for each in (
        *(StudyStarted, DriverStarted, TrialsTaken, TrialAdded, TrialAttempt, TrialStarted),
        TrialReported,
        *(TrialCloned, TrialEnded, TrialRetried, StopAsked, PointAsked, StudyEnded),
    )
}


class _Field(NamedTuple):
    """One key of a kind."""

    name: str
    key: str
    fits: Callable[[Any], bool]
    """Whether a value read from JSON is of the field's type."""
    required: bool
    omitted: bool
    """Whether it is left out where it is None."""


def _fields_of(kind: type[NewEvent]) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _Field(
            each.name,
            each.metadata.get("key", each.name),
            check_of(hints[each.name] if each.metadata.get("checked", True) else Any),
            required=each.metadata.get("required", each.default is not None),
            omitted=each.default is None,
        )
        for each in fields(kind)
    )


FIELDS = {name: _fields_of(kind) for name, kind in KINDS.items()}
"""By kind: its keys, in the order of the line."""


def typed(event: Event) -> NewEvent | None:
    """A line that fits its kind as an object of it; None for a kind unknown to this version.

    >>> typed({"event": "trial_ended", "time": 0.0, "trial": "0000", "state": "stopped"})
    TrialEnded(trial='0000', state='stopped', reason=None)
    """
    kind = KINDS.get(str(event["event"]))
    if kind is None:
        return None
    return kind(**{each.name: event.get(each.key) for each in FIELDS[kind.kind]})


def parse_line(line: bytes) -> Event | None:
    """The event on one line, or None for a blank or half-written one."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # cut short, also inside a character; or no driver's
        return None
    return event if isinstance(event, dict) and "event" in event else None


def json_line(event: Event) -> str:
    """An event as strict JSON on one line; a number that is not finite becomes null."""
    try:
        return json.dumps(event, allow_nan=False)
    except (ValueError, TypeError):  # a number that is not finite, a mapping that is no dict
        return json.dumps(_finite(event))


def _finite(value: Any) -> Any:
    """`value` with every float that JSON cannot write replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
