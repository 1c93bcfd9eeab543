"""Trials that are all reports, studies of them, and what a driver spends on each report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

SPACE = Path(__file__).parents[2] / "search_spaces" / "dfsr.yaml"
REPORTS, STEPS, FIGURES = 20, 400, 10


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


def study(folder: Path, trials: int, workers: int, tracking_uri: str | None = None) -> Any:
    """The configuration of a study whose trials `toy` stands in for."""
    from tune_sr.space import SearchSpace
    from tune_sr.study import StudyConfig

    said = {
        "budget.steps": STEPS,
        "budget.steps_per_report": STEPS // REPORTS,
        "study.trials": trials,
        "study.concurrent": workers,
        "study.searcher": "random",
        "study.tracking_uri": tracking_uri or f"sqlite:///{folder}/mlflow.db",
    }
    space = SearchSpace.load(SPACE, [f"{path}={value}" for path, value in said.items()])
    return StudyConfig.of(space, "toy", folder)


def run(config: Any, *, seconds: float = 0.0, reuse: bool = True) -> Meter:
    """Run the study with all that belongs to one, but for its trials.

    Args:
        config: what `study` gave.
        seconds: that a trial takes for a report.
        reuse: whether a process that has ended a trial begins the next.
    """
    from tune_sr import tuner
    from tune_sr.adapters import LedgerScheduler, LedgerSearcher
    from tune_sr.study import run_study

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


def toy(seconds: float = 0.0) -> type:
    """A trainable that levels off at a height which its trial's name gives it.

    It is made here, so that it travels to Ray's processes by value: they cannot import this file.
    """
    from ray import tune

    from trainables.ray_trainable import REPORTED

    class Toy(tune.Trainable):
        def setup(self, config: dict[str, Any], job: Any = None) -> None:
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._height = 30 + sum(str(new_config["trial"]).encode()) % 97 / 97
            self._done = 0
            return True

        def step(self) -> dict[str, Any]:
            time.sleep(seconds)
            self._done += 1
            value = self._height - math.exp(-self._done / 5)
            report = {"step": self._done * STEPS / REPORTS, "psnr_y_db": value}
            report |= {f"figure/{number}": value / (1 + number) for number in range(FIGURES)}
            return {**report, REPORTED: list(report)}

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: Any) -> None: ...

    return Toy
