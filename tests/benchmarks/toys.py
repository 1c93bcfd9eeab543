"""Trials that are all reports, studies of them, and what a driver spends on each report."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

SPACE = Path(__file__).parents[2] / "search_spaces" / "dfsr.yaml"
REPORTS, STEPS, FIGURES = 80, 400, 10
"""As many reports as DFSR's paper has epochs of VDSR, each of twelve numbers."""
START_S = 15.0
"""Until then no trial reports, so that all processes have started: Ray gives a trial that waits for
a new process the first one that becomes free, and ends the new one before it has begun. Trials that
take no longer than a process takes to start would share a single one for ever."""


@dataclass
class Meter:
    """What the driver spent, from the first result to the last."""

    moments: list[tuple[float, float]] = field(default_factory=list)
    """Of every result: the clock's time and the process's."""
    inside: float = 0.0
    """Seconds inside Ray's loop."""

    @property
    def rate(self) -> float:
        """Results a second."""
        return (len(self.moments) - 1) / (self.moments[-1][0] - self.moments[0][0])

    @property
    def cpu(self) -> float:
        """Of the driver's process and all its threads: seconds a result."""
        return (self.moments[-1][1] - self.moments[0][1]) / (len(self.moments) - 1)

    @contextmanager
    def at(self, kind: type, *methods: str, counts: bool = False) -> Iterator[None]:
        """While in use, the time of these methods is spent inside; the first is one a result."""
        with ExitStack() as patches:
            for method in methods:
                counted = counts and method == methods[0]
                timed = self._timed(getattr(kind, method), counted)
                patches.enter_context(mock.patch.object(kind, method, timed))
            yield

    def _timed(self, function: Callable[..., Any], counted: bool) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                ended = time.perf_counter()
                self.inside += ended - began
                if counted:
                    self.moments.append((ended, time.process_time()))

        return call


def study(
    folder: Path,
    trials: int,
    workers: int,
    tracking_uri: str | None = None,
    searcher: str = "random",
) -> Any:
    """The configuration of a study whose trials `toy` stands in for."""
    from tune_sr.study.config import StudyConfig
    from tune_sr.study.space_file import load_study

    said = {
        "budget.steps": STEPS,
        "budget.steps_per_report": STEPS // REPORTS,
        "study.trials": trials,
        "study.concurrent": workers,
        "study.searcher": searcher,
        "study.tracking_uri": tracking_uri or f"sqlite:///{folder}/mlflow.db",
    }
    loaded = load_study(SPACE, [f"{path}={value}" for path, value in said.items()])
    return StudyConfig(*loaded, folder / "toy")


def run(config: Any, *, seconds: float = 0.0, reuse: bool = True) -> Meter:
    """Run the study with all that belongs to one, but for its trials.

    Args:
        config: what `study` gave.
        seconds: that a trial takes for a report.
        reuse: whether a process that has ended a trial begins the next.
    """
    from tune_sr.driver.run_study import run_study
    from tune_sr.execution import tuner
    from tune_sr.execution.scheduler import LedgerScheduler
    from tune_sr.execution.searcher import LedgerSearcher

    meter = Meter()
    changed = {} if reuse else {"reuse_actors": False}
    real = tuner.tune.TuneConfig
    with (
        mock.patch.object(tuner, "DistillTrainable", toy(seconds)),
        mock.patch.object(tuner.tune, "TuneConfig", lambda **said: real(**{**said, **changed})),
        meter.at(LedgerScheduler, "on_trial_result", "choose_trial_to_run", counts=True),
        meter.at(LedgerSearcher, "suggest", "on_trial_complete"),
    ):
        run_study(config, quiet=True)
    return meter


def by_value() -> None:
    """Ray's processes cannot import this file: what they need of it travels as it is."""
    from ray.cloudpickle import register_pickle_by_value

    register_pickle_by_value(sys.modules[__name__])


def report_of(trial: Any, number: int) -> dict[str, float]:
    """Report `number`, from 1, of a trial that levels off at a height which its name gives it."""
    value = 30 + sum(str(trial).encode()) % 97 / 97 - math.exp(-number / 5)
    figures = {f"figure/{each}": value / (1 + each) for each in range(FIGURES)}
    return {"step": number * STEPS / REPORTS, "psnr_y_db": value, **figures}


def pause(seconds: float) -> None:
    """Wait, but not at all for none: a sleep of zero seconds takes a tenth of a millisecond."""
    if seconds > 0:
        time.sleep(seconds)


def toy(seconds: float = 0.0) -> type:
    """A study's trainable, but that a report costs nothing.

    Args:
        seconds: that it waits before each report.
    """
    from trainables.ray_trainable import DistillTrainable

    by_value()
    together = time.time() + START_S

    class Toy(DistillTrainable):
        def _begin(self, config: Mapping[str, Any]) -> None:
            self._trial, self._done = config["trial"], 0

        def _report(self) -> dict[str, float]:
            pause(max(seconds, together - time.time()))
            self._done += 1
            return report_of(self._trial, self._done)

    return Toy


def stock() -> type:
    """The same as Ray's users write it."""
    from ray import tune

    by_value()
    together = time.time() + START_S

    class Toy(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._trial, self._done = new_config["trial"], 0
            return True

        def step(self) -> dict[str, float]:
            pause(together - time.time())
            self._done += 1
            return report_of(self._trial, self._done)

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: Any) -> None: ...

    return Toy
