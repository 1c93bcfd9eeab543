"""Delays trials that met a fault of the machine, and stops the study when faults do not end.

Without it, a file server that restarts for ten seconds would fail all trials of a study.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

from trainables.errors import EnvironmentFault

PAUSES_S = (1.0, 4.0, 15.0, 60.0)
"""Seconds before a trial's second, third, ... attempt in a row after a fault of the machine."""
IN_A_ROW = 3
"""A study stops when so many trials in a row use up these attempts for the same reason."""


class CircuitBreaker:
    """Pauses between attempts of trials that meet faults of the machine before their first report.

    >>> breaker = CircuitBreaker(iter([0.0, 0.5, 1.0]).__next__)
    >>> breaker.fault("0000", "OSError: [Errno 116] Stale file handle")
    >>> breaker.due(), breaker.due()
    ([], ['0000'])
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults: Counter[str] = Counter()
        self._paused: dict[str, float] = {}
        self._given_up: dict[str, str] = {}
        self._row: list[str] = []

    def fault(self, trial: str, reason: str) -> None:
        """Take a fault into account: the trial pauses, or is given up for this start."""
        if self._faults[trial] < len(PAUSES_S):
            self._paused[trial] = self._clock() + PAUSES_S[self._faults[trial]]
            self._faults[trial] += 1
            return
        if self._row and _kind(reason) != _kind(self._given_up[self._row[-1]]):
            self._row.clear()
        self._given_up[trial] = reason
        self._row.append(trial)

    def began(self, trial: str) -> None:
        """Take into account that a trial has reported: the machine is sound again."""
        self._faults.pop(trial, None)
        self._row.clear()

    def due(self) -> list[str]:
        """The trials whose pause is over; each is returned once."""
        if not self._paused:
            return []
        now = self._clock()
        over = [trial for trial, until in self._paused.items() if until <= now]
        for trial in over:
            del self._paused[trial]
        return over

    @property
    def pausing(self) -> bool:
        """Whether a trial pauses; no new one should begin meanwhile."""
        return bool(self._paused)

    @property
    def tripped(self) -> bool:
        """Whether the study is to stop at once."""
        return len(self._row) >= IN_A_ROW

    @property
    def given_up(self) -> str | None:
        """Which trials were given up for this start, and why the last of them; None if none was."""
        if not self._given_up:
            return None
        trials, reason = ", ".join(self._given_up), list(self._given_up.values())[-1]
        attempts = f"{len(PAUSES_S) + 1} attempts each"
        return f"trial {trials} could not begin, in {attempts}: {reason}; nothing counts as failed"

    def check(self) -> None:
        """Raise where trials were given up.

        Raises:
            EnvironmentFault: with `given_up`.
        """
        if self.given_up is not None:
            raise EnvironmentFault(self.given_up)


def _kind(reason: str) -> str:
    """A reason without the numbers in it: process ids, addresses and dates differ each time."""
    return re.sub(r"\b[0-9a-f]*\d[0-9a-f]*\b", "#", reason)
