"""What ends a start of the driver beside its last trial: GPU time, and a machine that fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.stopper import Stopper

if TYPE_CHECKING:
    from tune_sr.execution.state import StudyState


class GpuHoursStopper(Stopper):  # type: ignore[misc]  # Ray's classes are untyped
    """Ends a start of the driver when the study has used the GPU time that it may use."""

    def __init__(self, live: StudyState, hours: float) -> None:
        self._live, self._seconds = live, 3600 * hours

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """No single trial ends by it."""
        return False

    def stop_all(self) -> bool:
        """Whether the time is used up by now."""
        return self._live.gpu_meter.seconds(time.time()) >= self._seconds


class Tripped(Stopper):  # type: ignore[misc]  # Ray's classes are untyped
    """Ends a start of the driver when trial after trial meets one fault of the machine."""

    def __init__(self, live: StudyState) -> None:
        self._live = live

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """No single trial ends by it."""
        return False

    def stop_all(self) -> bool:
        """Whether no more trials should be begun."""
        return self._live.breaker.tripped
