"""Starts and stops the two readers of a running study's ledger: terminal display and MLflow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from trainables.values import QUALITIES
from tune_sr.execution.resources import local_workers
from tune_sr.progress.display import Progress
from tune_sr.progress.status import StudyOutline
from tune_sr.schedulers.rungs import rungs
from tune_sr.storage.layout import LEDGER
from tune_sr.study.config import StudyConfig
from tune_sr.study.confirmation import most_repeats
from tune_sr.study.dry_run import expected_updates
from tune_sr.tracking.store import TrackingStore
from tune_sr.tracking.tracker import MlflowTracker

_CLOSE_S, _CLOSE_EARLY_S = 60.0, 10.0
"""Seconds that MLflow may take for the rest: at the end of a study, and after an exception."""


class Observers:
    """Context in which a study is displayed and sent to MLflow, and log warnings are shown.

    On leaving it MLflow receives the rest, the files in the study's folder included: write results
    before.

    Args:
        config: the study.
        marks: reports of `bicubic` and `teacher`, as `measure_references` returns them.
        quiet: show nothing but log warnings and MLflow's failures.
        complete: called on leaving, to write what of the study's files only MLflow needs.
    """

    def __init__(
        self,
        config: StudyConfig,
        marks: Mapping[str, Any],
        *,
        quiet: bool,
        complete: Callable[[], Any] = lambda: None,
    ) -> None:
        ledger, settings = config.folder / LEDGER, config.settings
        values = {name: (mark or {}).get(settings.objective.value) for name, mark in marks.items()}
        outline = StudyOutline(
            name=config.name,
            trials=settings.trials,
            repeats=most_repeats(config),
            steps=config.space.budget.steps,
            objective=settings.objective.value,
            cost=settings.objective.cost,
            bicubic=values.get("bicubic"),
            teacher=values.get("teacher"),
            expected_steps=expected_updates(settings, config.space.budget, local_workers(config)),
            rungs=rungs(settings.scheduler, config.space.budget),
            configure=config.trial_config,
        )
        self._progress = Progress(ledger, outline, quiet=quiet)
        self._tracker = MlflowTracker(
            ledger,
            TrackingStore.resolve(settings.tracking_uri, config.folder.parent),
            experiment=settings.experiment or config.space.name,
            params_of=lambda point: config.trial_config(point).model_dump(mode="json"),
            growth_of=lambda point: max(config.trial_config(point).growth_steps(), default=0),
            summary_keys=(*QUALITIES, "ssim"),
            objective=settings.objective.keys,
            tags={
                "searcher": settings.searcher,
                "scheduler": settings.scheduler.name,
                "objective": " ".join(settings.objective.keys),
            },
            say=self._progress.say,
            complete=complete,
        )
        self._warnings = _WarningLines(self._progress.say)

    def __enter__(self) -> Observers:
        for name in ("tune_sr", "trainables"):
            logging.getLogger(name).addHandler(self._warnings)
        self._progress.start()
        self._tracker.start()
        return self

    @property
    def view(self) -> str | None:
        """The address of the study's view in MLflow, after leaving; None where it was not sent."""
        return self._tracker.view

    def stop_display(self) -> None:
        """Stop the display; what is printed from now on stands below its last table."""
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


class _WarningLines(logging.Handler):
    """Shows each log warning to the person as one line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        self._say(f"{record.levelname.lower()}: {record.getMessage()}")
