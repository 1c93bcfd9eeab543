"""How long drivers have worked on a study, and the GPU time its trials have used.

A trial uses what it was given from the line that issued it to the line that ended it, or to the
last line of a driver that died.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from tune_sr.ledger.events import Event


class GpuMeter:
    """Seconds of GPUs given to trials, all starts of a study together."""

    def __init__(self) -> None:
        self._gpus = 0.0
        self._spent = 0.0
        self._since: dict[str, float] = {}
        self._last = 0.0

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> Self:
        """The fold of `events`, oldest first.

        >>> started = {"event": "driver_started", "time": 0.0, "study": {"gpus_per_trial": 0.5}}
        >>> added = {"event": "trial_added", "time": 10.0, "trial": "0000"}
        >>> GpuMeter.from_events([started, added]).seconds(now=30.0)
        10.0
        """
        meter = cls()
        for event in events:
            meter.apply(event)
        return meter

    def apply(self, event: Event) -> None:
        """Take one more event into account."""
        kind, now = event["event"], event["time"]
        if kind == "driver_started":
            self._close(self._last)  # of a driver that died, what it wrote last
            self._gpus = event.get("study", {}).get("gpus_per_trial", 0.0)
        elif kind == "study_ended":
            self._close(now)
        elif kind in ("trial_added", "attempt"):
            self._end(event["trial"], now)
            self._since[event["trial"]] = now
        elif kind == "trial_ended":
            self._end(event["trial"], now)
        self._last = now

    def seconds(self, now: float | None = None) -> float:
        """GPU-seconds up to `now`, in seconds since 1970; None: up to the last event."""
        until = self._last if now is None else now
        running = sum(max(0.0, until - since) for since in self._since.values())
        return self._spent + self._gpus * running

    def _end(self, trial: str, now: float) -> None:
        since = self._since.pop(trial, None)
        if since is not None:
            self._spent += self._gpus * max(0.0, now - since)

    def _close(self, now: float) -> None:
        for trial in list(self._since):
            self._end(trial, now)


def driver_seconds(events: Iterable[Event]) -> float:
    """How long drivers have worked on a study, all its starts together."""
    total, began, last = 0.0, None, 0.0
    for event in events:
        if event["event"] == "driver_started":
            total += last - began if began is not None else 0.0
            began = event["time"]
        last = event["time"]
    return total + (last - began if began is not None else 0.0)
