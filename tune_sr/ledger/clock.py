"""A study's clock: the minutes that drivers have worked on it, without the time between them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from tune_sr.ledger.events import DriverStarted, Event


class StudyClock:
    """Turns times since 1970 into minutes of work, as if no driver had ever been away.

    >>> started = {"event": "driver_started"}
    >>> events = [{**started, "time": 60}, {"event": "attempt", "time": 120}]
    >>> clock = StudyClock([*events, {**started, "time": 660}])
    >>> clock.minutes(90), clock.minutes(500), clock.minutes(720), clock.starts
    (0.5, 1.0, 2.0, [0.0, 1.0])
    """

    def __init__(self, events: Iterable[Event]) -> None:
        """Read when drivers started, and the last event of each.

        Args:
            events: the ledger's, oldest first.
        """
        self._begins: list[float] = []
        self._ends: list[float] = []
        self._before: list[float] = []
        """By driver: its start, its last event, the seconds of all before it."""
        for event in events:
            time = float(event["time"])
            if event["event"] == DriverStarted.kind:
                self._before.append(self._worked())
                self._begins.append(time)
                self._ends.append(time)
            elif self._begins:
                self._ends[-1] = max(self._ends[-1], time)

    def _worked(self) -> float:
        if not self._begins:
            return 0.0
        return self._before[-1] + self._ends[-1] - self._begins[-1]

    @property
    def starts(self) -> list[float]:
        """When each driver started, in minutes of work."""
        return [seconds / 60 for seconds in self._before]

    @property
    def end(self) -> float:
        """Minutes of work up to the last event."""
        return self._worked() / 60

    def minutes(self, time: float) -> float:
        """The minutes of work up to `time`; between two drivers, all of the earlier one's."""
        place = bisect_right(self._begins, time) - 1
        if place < 0:
            return 0.0
        last = place == len(self._begins) - 1
        until = time if last else min(time, self._ends[place])
        return (self._before[place] + until - self._begins[place]) / 60
