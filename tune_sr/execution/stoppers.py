"""Ray Tune's stoppers of a study: GPU time used up, a machine that fails, and the loop's start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.stopper import Stopper

if TYPE_CHECKING:
    from tune_sr.execution.state import StudyState


class _StudyStopper(Stopper):  # type: ignore[misc]  # Ray's classes are untyped
    """Stops whole studies, no single trial."""

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Let the trial go on."""
        return False


class GpuHoursStopper(_StudyStopper):
    """Ends a start of the driver when the study's GPU hours are used up."""

    def __init__(self, live: StudyState, hours: float) -> None:
        self._live, self._seconds = live, 3600 * hours

    def stop_all(self) -> bool:
        """Whether the GPU hours are used up by now."""
        return self._live.history.usage.gpu_seconds(time.time()) >= self._seconds


class Tripped(_StudyStopper):
    """Ends a start of the driver when trial after trial meets the same fault of the machine."""

    def __init__(self, live: StudyState) -> None:
        self._live = live

    def stop_all(self) -> bool:
        """Whether the circuit breaker has tripped."""
        return self._live.breaker.tripped


class OnFirstStep(_StudyStopper):
    """Calls a function once, at the first step of Ray's loop, in its thread; stops nothing.

    A stopper, because for a callback of ours Ray imports MLflow: 2.5 s of each start, 110 MB.
    """

    def __init__(self, begun: Callable[[], None]) -> None:
        self._begun: Callable[[], None] | None = begun

    def stop_all(self) -> bool:
        """Call it, at the first step."""
        if self._begun is not None:
            self._begun()
        self._begun = None
        return False
