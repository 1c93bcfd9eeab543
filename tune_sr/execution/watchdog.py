"""Finds trials that hang: those that have not reported for too long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

FIRST_S = 30 * 60.0
"""Seconds allowed before a trial's first report, in which images and weights are read."""
LEAST_S = 10 * 60.0
FACTOR = 5.0
"""Allowed after it: so many times the study's slowest report, and at least `LEAST_S` seconds."""
_LOOK_S = 1.0


class Watchdog:
    """Keeps when each running trial last started or reported.

    >>> clock = iter([0.0, 60.0, 120.0, 720.0])
    >>> watchdog = Watchdog(lambda: next(clock))
    >>> watchdog.started("0000"), watchdog.reported("0000"), watchdog.reported("0000")
    (None, None, None)
    >>> watchdog.overdue()
    {'0000': 600.0}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._reporting: set[str] = set()
        self._slowest = 0.0
        self._looked = -math.inf

    def started(self, trial: str) -> None:
        """Begin to watch a trial that begins, or begins again."""
        self._last[trial] = self._clock()
        self._reporting.discard(trial)

    def reported(self, trial: str) -> None:
        """Take a trial's report into account."""
        now = self._clock()
        if trial in self._reporting:
            self._slowest = max(self._slowest, now - self._last[trial])
        self._last[trial] = now
        self._reporting.add(trial)

    def ended(self, trial: str) -> None:
        """Stop watching a trial that has ended or lost its process."""
        self._last.pop(trial, None)
        self._reporting.discard(trial)

    def overdue(self) -> dict[str, float]:
        """The trials that hang, each with the seconds since its last report.

        Computed once a second, since Ray's loop asks after every result; empty in between.
        """
        now = self._clock()
        if now - self._looked < _LOOK_S:
            return {}
        self._looked = now
        limit = max(LEAST_S, FACTOR * self._slowest)
        return {
            trial: now - since
            for trial, since in self._last.items()
            if now - since >= (limit if trial in self._reporting else FIRST_S)
        }
