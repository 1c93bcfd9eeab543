"""When each trial held a place to run, and which: node and GPU, or a slot where none is known."""

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
    """`node gpu 0`, or `slot 1`."""
    lost: bool
    """Whether the trial had to begin again after it."""


class _Open(NamedTuple):
    start: float
    place: str | None


def spans_of(events: Iterable[Event], clock: StudyClock) -> list[Span]:
    """The spans of all trials and repeats, by start; one that runs ends with the last event.

    Where no event names a place, each span takes the first slot that is free: as many as trials
    were running at a time.
    """
    named = [
        (name, clock.minutes(span.start), clock.minutes(end), span.place, lost)
        for name, span, end, lost in _attempts(events)
    ]
    free: list[float] = []
    spans = []
    for name, start, end, place, lost in sorted(named, key=lambda each: each[1]):
        if place is None:
            slot = next((s for s, busy in enumerate(free) if busy <= start + 1e-9), len(free))
            free[slot : slot + 1] = [end]
            place = f"slot {slot + 1}"
        spans.append(Span(name, start, end, place, lost))
    return spans


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
            open_[name] = _Open(time, _place(event))
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
