"""When each trial held a place to run, and which: node and GPU, or a slot of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tune_sr.ledger import events as kinds
from tune_sr.ledger.clock import StudyClock
from tune_sr.ledger.events import Event

STARTED = "trial_started"
"""The kind of event that names the node and the GPU of a trial; earlier ledgers have none."""


class Span(NamedTuple):
    """One attempt of a trial, in minutes of the study's work."""

    trial: str
    start: float
    end: float
    place: str
    """`node gpu 0`, `node slot 1` where trials share it, or `slot 1`."""
    lost: bool
    """Whether the trial had to begin again after it."""


class _Open(NamedTuple):
    start: float
    place: str | None


def spans_of(events: Iterable[Event], clock: StudyClock) -> list[Span]:
    """The spans of all trials and repeats, by start; one that runs ends with the last event.

    Trials that share a place, or whose place no event names, each take its first slot that is free
    then: as many slots as ran there at a time.
    """
    named = [
        (name, clock.minutes(span.start), clock.minutes(end), span.place, lost)
        for name, span, end, lost in _attempts(events)
    ]
    busy: dict[str | None, list[float]] = {}
    """By place, until when each of its slots is taken."""
    taken = []
    for name, start, end, place, lost in sorted(named, key=lambda each: each[1]):
        slots = busy.setdefault(place, [])
        slot = next((s for s, until in enumerate(slots) if until <= start + 1e-9), len(slots))
        slots[slot : slot + 1] = [end]
        taken.append((name, start, end, place, slot, lost))
    return [
        Span(name, start, end, _row(place, slot, len(busy[place])), lost)
        for name, start, end, place, slot, lost in taken
    ]


def _row(place: str | None, slot: int, slots: int) -> str:
    """The name of a slot: of the place where it has one, of both where it has several."""
    if place is None:
        return f"slot {slot + 1}"
    return place if slots == 1 else f"{place} slot {slot + 1}"


def _attempts(events: Iterable[Event]) -> Iterator[tuple[str, _Open, float, bool]]:
    """Every attempt: trial, its start and place, its end, and whether it was lost."""
    open_: dict[str, _Open] = {}
    last = 0.0
    for event in events:
        kind, name, time = event["event"], str(event.get("trial")), float(event["time"])
        if kind == kinds.DriverStarted.kind:  # a driver that was killed left its trials open
            for each in list(open_):
                yield each, open_[each], last, True
                open_[each] = _Open(time, open_[each].place)
        elif kind in (kinds.TrialAdded.kind, kinds.TrialRetried.kind):
            open_[name] = _Open(time, None)
        elif kind == kinds.TrialAttempt.kind and name in open_:
            yield name, open_.pop(name), time, True
            open_[name] = _Open(time, None)
        elif kind == STARTED and name in open_:
            # It comes with the first report: the trial has begun long before.
            open_[name] = open_[name]._replace(place=_place(event))
        elif kind == kinds.TrialEnded.kind and name in open_:
            yield name, open_.pop(name), time, False
        last = time
    for name, span in open_.items():
        yield name, span, last, False


def _place(event: Event) -> str | None:
    node, gpu = event.get("node"), event.get("gpu")
    if node is None:
        return None
    return str(node) if gpu is None else f"{node} gpu {gpu}"
