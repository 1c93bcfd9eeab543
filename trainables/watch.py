"""Tells a run that has exploded from one that is only noisy."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

from trainables.values import Diverged

_WINDOW, _FACTOR, _PATIENCE = 200, 10.0, 100
"""A run has exploded when its loss lies above `_FACTOR` times the median of the last `_WINDOW`
for `_PATIENCE` updates in a row (methods of the DFAD family collapse in this way)."""


class Watch:
    """Reads the losses of a run as it goes on, and knows when it has exploded."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=_WINDOW)
        self.above = 0

    def look(
        self, first: int, values: Mapping[str, list[float]], growth_steps: tuple[int, ...]
    ) -> None:
        """Read the losses of the updates from number `first` on; the student's own comes first.

        Raises:
            Diverged: one is not finite, or the student's has exploded.
        """
        last = {name: losses[-1] for name, losses in values.items()}
        own = next(iter(values.values()))
        for name, losses in values.items():
            bad = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
            if bad:  # the others come less often than once an update: their step is not known
                step = first + (bad[0] + 1 if losses is own else len(own))
                raise Diverged(step, f"{name} is not finite", last)
        for offset, loss in enumerate(own):
            if first + offset in growth_steps:  # new random blocks: a jump is expected
                self.recent.clear()
                self.above = 0
            full = len(self.recent) == _WINDOW
            exploded = full and loss > _FACTOR * statistics.median(self.recent)
            self.above = self.above + 1 if exploded else 0
            if self.above == _PATIENCE:
                raise Diverged(first + offset + 1, f"loss exploded to {loss:.3g}", last)
            if not exploded:  # else the median would learn to think it normal
                self.recent.append(loss)

    def state_dict(self) -> dict[str, Any]:
        """The losses it remembers."""
        return {"recent": list(self.recent), "above": self.above}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Remember those of `state_dict`."""
        self.recent = deque(state_dict["recent"], maxlen=_WINDOW)
        self.above = int(state_dict["above"])
