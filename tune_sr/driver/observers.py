"""Everyone who watches a study go: the person at the terminal, and MLflow."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from tune_sr.progress.display import Progress
from tune_sr.progress.status import StudyOutline
from tune_sr.schedulers.rungs import rungs
from tune_sr.storage.layout import LEDGER
from tune_sr.study.config import StudyConfig
from tune_sr.tracking.store import TrackingStore
from tune_sr.tracking.tracker import MlflowTracker

_CLOSE_S, _CLOSE_EARLY_S = 60.0, 10.0
"""How long MLflow may take for what is left to send: at the end of a study, and of a broken one."""

_SWITCH_S = 0.0005
"""How long a thread that works may keep one waiting that comes back from a disk or a network. At
Python's own 5 ms a result costs Ray's loop a whole 10 ms more while MLflow is sent something."""


class Observers:
    """Readers of a study's ledger and of its driver's log warnings, while in use as a context.

    On leaving, what the study's folder then holds is sent; so its results are written before.
    """

    def __init__(self, config: StudyConfig, marks: Mapping[str, Any], *, quiet: bool) -> None:
        ledger = config.folder / LEDGER
        values = {name: (mark or {}).get(config.objective.value) for name, mark in marks.items()}
        frame = StudyOutline(
            name=config.name,
            trials=config.trials,
            steps=config.space.budget.steps,
            objective=config.objective.value,
            cost=config.objective.cost,
            bicubic=values.get("bicubic"),
            teacher=values.get("teacher"),
            rungs=rungs(config.scheduler, config.space.budget),
            configure=config.trial_config,
        )
        self._progress = Progress(ledger, frame, quiet=quiet)
        self._tracker = MlflowTracker(
            ledger,
            TrackingStore.resolve(config.tracking_uri, config.folder.parent),
            experiment=config.experiment,
            params_of=lambda point: config.trial_config(point).model_dump(mode="json"),
            tags={
                "searcher": config.searcher,
                "scheduler": config.scheduler.name,
                "objective": " ".join(each for each in config.objective if each),
            },
            say=self._progress.say,
        )
        self._warnings = _Saying(self._progress.say)
        self._switch_s = sys.getswitchinterval()

    def __enter__(self) -> Observers:
        sys.setswitchinterval(min(_SWITCH_S, self._switch_s))
        for name in ("tune_sr", "trainables"):
            logging.getLogger(name).addHandler(self._warnings)
        self._progress.start()
        self._tracker.start()
        return self

    def stop_display(self) -> None:
        """Leave the last table standing: what is printed from now on stands below it."""
        self._progress.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.close()
        self._tracker.close(_CLOSE_S if kind is None else _CLOSE_EARLY_S)
        for name in ("tune_sr", "trainables"):
            logging.getLogger(name).removeHandler(self._warnings)
        sys.setswitchinterval(self._switch_s)


class _Saying(logging.Handler):
    """Passes warnings on to the person, in the words they came in."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        self._say(f"{record.levelname.lower()}: {record.getMessage()}")
