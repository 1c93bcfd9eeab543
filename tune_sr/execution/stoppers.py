"""Ray Tune's stoppers of a study: GPU time used up, and a machine that fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.stopper import Stopper

if TYPE_CHECKING:
    from tune_sr.execution.state import StudyState


class GpuHoursStopper(Stopper):  # type: ignore[misc]  # Ray's classes are untyped
    """Ends a start of the driver when the study's GPU hours are used up."""

    def __init__(self, live: StudyState, hours: float) -> None:
        self._live, self._seconds = live, 3600 * hours

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Never: it stops whole studies."""
        return False

    def stop_all(self) -> bool:
        """Whether the GPU hours are used up by now."""
        return self._live.history.usage.gpu_seconds(time.time()) >= self._seconds


class Tripped(Stopper):  # type: ignore[misc]  # Ray's classes are untyped
    """Ends a start of the driver when trial after trial meets the same fault of the machine."""

    def __init__(self, live: StudyState) -> None:
        self._live = live

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Never: it stops whole studies."""
        return False

    def stop_all(self) -> bool:
        """Whether the circuit breaker has tripped."""
        return self._live.breaker.tripped
