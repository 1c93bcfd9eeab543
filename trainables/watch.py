"""Collects the losses between two reports, and detects training that diverges by them."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.errors import Diverged

_WINDOW, _FACTOR, _PATIENCE = 200, 10.0, 100
"""A run has exploded when its loss was above `_FACTOR` times the median of the last `_WINDOW`
losses for `_PATIENCE` updates in a row (methods of the DFAD family collapse in this way)."""


class Window:
    """The losses of the updates between two reports; they stay on the device until `values`."""

    def __init__(self, first: int, updates: int) -> None:
        """Begin, with update number `first`, a window of so many updates."""
        self.first, self.updates = first, updates
        self._began = time.perf_counter()
        self._losses: dict[str, list[Tensor]] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Append scalars by name: the losses of an update, or figures of the method."""
        for name, loss in losses.items():
            self._losses.setdefault(name, []).append(loss)

    def values(self) -> dict[str, list[float]]:
        """Return all values by name: the only synchronisation with the device between reports."""
        return {name: torch.stack(losses).tolist() for name, losses in self._losses.items()}

    def seconds(self) -> float:
        """Return the seconds since the window began."""
        return time.perf_counter() - self._began


class Watch:
    """Checks the losses of a run for divergence; its window is part of a checkpoint's state."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=_WINDOW)
        self.above = 0

    def look(
        self, first: int, values: Mapping[str, list[float]], growth_steps: tuple[int, ...]
    ) -> None:
        """Check the losses of the latest updates.

        Args:
            first: the number of the first of these updates.
            values: losses by name, one for each update; the student's own comes first.
            growth_steps: updates at which the student grows, after which a jump is expected.

        Raises:
            Diverged: a loss is not finite, or the student's has exploded.
        """
        last = {name: losses[-1] for name, losses in values.items()}
        own = next(iter(values.values()))
        for name, losses in values.items():
            bad = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
            if bad:  # other losses occur less often than updates: their step is not known
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
            if not exploded:  # else it would raise the median
                self.recent.append(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the window of losses and the number of exploded ones in a row."""
        return {"recent": list(self.recent), "above": self.above}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Restore the window and the count of `state_dict`."""
        self.recent = deque(state_dict["recent"], maxlen=_WINDOW)
        self.above = int(state_dict["above"])
