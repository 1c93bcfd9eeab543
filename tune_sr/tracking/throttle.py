"""How a thread keeps out of the way of the others, where Python runs one of them at a time."""

from __future__ import annotations

import time
from typing import NamedTuple

_BUSY, _SHARE = 0.5, 0.05
"""From which part of a core on the others count as busy, and the part that is then left to take."""
_BRIEF_S = 0.005
"""Work that nobody notices; it is counted together with what follows."""


class Clocks(NamedTuple):
    """Seconds: of the wall, of a processor for this process, of it for this thread."""

    wall: float
    process: float
    thread: float

    @classmethod
    def now(cls) -> Clocks:
        """What they show."""
        return cls(time.monotonic(), time.process_time(), time.thread_time())


class Pace:
    """Of a thread that works while others of its process may have more urgent things to do.

    >>> pace = Pace(Clocks(0.0, 0.0, 0.0))
    >>> pace.rest_s(Clocks(wall=1.0, process=0.5, thread=0.2))  # others: 0.3 of a core
    0.0
    >>> round(pace.rest_s(Clocks(wall=2.0, process=1.4, thread=0.3)), 2)  # 0.8, and 0.1 of its own
    1.9
    """

    def __init__(self, since: Clocks | None = None) -> None:
        """Begin to count.

        Args:
            since: what the clocks show; read if None.
        """
        self._since = since or Clocks.now()

    def rest_s(self, now: Clocks | None = None) -> float:
        """How long to leave the processor to the others, after what was done since the last time.

        Nothing while they use less than half of a core; else so long that a twentieth is taken.
        """
        now = now or Clocks.now()
        wall, process, own = (b - a for a, b in zip(self._since, now, strict=True))
        if own < _BRIEF_S:
            return 0.0
        self._since = now
        return own * (1 / _SHARE - 1) if process - own > _BUSY * wall else 0.0
