"""Follows a study's ledger and brings an MLflow store to what it holds.

Every request can be repeated without harm: a run is looked up by its tags before one is created,
and a metric carries the time of its ledger line. So every failure is handled in one way: wait,
discard what the store was believed to hold, look it up, and continue from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from tune_sr.ledger.tail import Tail
from tune_sr.objectives.objective import Objective
from tune_sr.objectives.score import Scorer
from tune_sr.storage.append_file import sync_to_disk
from tune_sr.tracking.client import MlflowRuns
from tune_sr.tracking.described import active_params, short_labels
from tune_sr.tracking.messages import TrackingSettings
from tune_sr.tracking.runs import StudyRun
from tune_sr.tracking.store import short_reason

_LONGEST_WAIT_S = 30.0
"""Upper bound of the wait after a failure, which doubles from one failure to the next."""


class LedgerSender:
    """Sends what a ledger holds to MLflow, until `stop` is called and everything is sent.

    Args:
        settings: what is sent, and where to.
        params_of: returns the configuration of a trial's point, flat by dotted path.
        on_failure: called with a short reason, free of secrets, after every failed attempt.
        on_success: called after the first round of requests that succeeded, and after the first
            one that succeeded after a failure.
        growth_of: returns the update of a student's last growth, given its point; None for a point
            that cannot be configured.
    """

    def __init__(
        self,
        settings: TrackingSettings,
        params_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        on_failure: Callable[[str], None],
        on_success: Callable[[], None],
        growth_of: Callable[[Mapping[str, Any]], int | None] = lambda point: 0,
    ) -> None:
        self._settings, self._params_of = settings, params_of
        self._on_failure, self._on_success = on_failure, on_success
        scorer = Scorer(Objective.of(settings.objective), partial(_growth, growth_of))
        self._study_run, self._tail = StudyRun(scorer), Tail(settings.ledger)
        self.view: str | None = None
        """The address of the study's view, once its run has been found or made."""
        self._stop = threading.Event()
        self._closing = False

    def stop(self) -> None:
        """Make `run` return once the rest is sent; callable from another thread."""
        self._stop.set()

    def run(self) -> None:
        """Send until stopped; then send the rest, the study's files included, and close all runs.

        Never raises for what MLflow does: it retries, for as long as it takes.
        """
        runs: MlflowRuns | None = None
        failures, succeeded = 0, False
        while True:
            try:
                runs = runs or MlflowRuns(self._settings.store, self._settings.experiment)
                if failures == 0:  # after a failure, events taken before it are sent first
                    self._take()
                self._bring_up_to_date(runs)
            except Exception as error:  # a client of a remote service may raise anything
                runs, failures, succeeded = None, failures + 1, False
                self._on_failure(short_reason(error, self._settings.store.uri))
                self._wait_after(failures)
                continue
            failures = 0
            if not succeeded:
                succeeded = True
                self._on_success()
            if self._closing:
                return

    def _wait_after(self, failures: int) -> None:
        """Wait before the next attempt; one period while a person waits for the study's end."""
        period_s = self._settings.period_s
        if self._stop.wait(min(period_s * 2**failures, _LONGEST_WAIT_S)):
            time.sleep(period_s)

    def _take(self) -> None:
        """Fold the next events of the ledger; the last round follows the last of them.

        Events that cannot be sent yet stay in the ledger, so that memory does not grow with them.
        """
        stopping = self._stop.wait(self._settings.period_s)
        events = self._tail.read()
        if not events and stopping:
            events, self._closing = self._tail.rest(), True
        for event in events:
            self._study_run.apply(event)
        if events:  # MLflow must not hold what a power cut can still take from the ledger
            sync_to_disk(self._settings.ledger)

    def _bring_up_to_date(self, runs: MlflowRuns) -> None:
        study_run = self._study_run
        if study_run.study is None:
            return
        if runs.parent is None:
            study_run.forget()
            labels = study_run.study_labels(short_labels(self._params_of({})))
            runs.find(study_run, {**labels, **self._settings.tags})
            self.view = runs.show(study_run, self._settings.objective[0])
        bicubic = study_run.bicubic(self._settings.objective[0])
        for trial in study_run.unsettled():
            if trial.run_id is None:
                params = self._params_of(trial.point)
                runs.open(trial, active_params(params, trial.point, study_run.searched))
            runs.send(trial, trial.outcome(bicubic) if trial.state is not None else ())
        if self._closing:
            runs.close(study_run, self._settings.ledger.parent, self._settings.summary_keys)


class _Growth(NamedTuple):
    """What a score needs to know of a configuration."""

    last: int

    def growth_steps(self) -> tuple[int, ...]:
        """The update of the student's last growth."""
        return (self.last,)


def _growth(growth_of: Callable[[Mapping[str, Any]], int | None], point: Mapping[str, Any]) -> Any:
    last = growth_of(point)
    if last is None:
        raise ValueError("cannot be configured")
    return _Growth(last)
