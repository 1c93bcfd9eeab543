"""Ray Tune's scheduler of a study: writes each report with its decision to the ledger."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.schedulers import FIFOScheduler

from trainables.ray_trainable import FAILED, FAULT, NOTES, PLACE, REPORT, TRIAL
from tune_sr.execution.recovery import (
    Fault,
    Retry,
    classify_loss,
    read_error,
    retry_or_fail_reported,
    says_preempted,
)
from tune_sr.execution.state import StudyState
from tune_sr.execution.steering import STOPPED_BY, Steering
from tune_sr.execution.watchdog import Watchdog
from tune_sr.ledger.events import State, TrialEnded, TrialReported, TrialStarted
from tune_sr.schedulers.decide import Decider
from tune_sr.study.config import StudyConfig

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


_log = logging.getLogger(__name__)


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray's classes are untyped
    """Ray Tune's scheduler, which appends each report with its decision before Ray acts on it."""

    def __init__(
        self, config: StudyConfig, live: StudyState, steering: Steering | None = None
    ) -> None:
        super().__init__()
        self._steering = steering
        self._config, self._live = config, live
        settings = config.settings
        self._decider = Decider(
            settings.scheduler, config.space.budget, live.history, settings.objective, settings.seed
        )
        self._population = config.population()
        self._watchdog = Watchdog()
        self._unplaced: dict[str, Trial] = {}
        self._reporting: set[str] = set()

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Note a trial that waits for resources; the watchdog watches it once it runs."""
        self._unplaced[trial.config[TRIAL]] = trial
        self._reporting.discard(trial.config[TRIAL])

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Note why a trial's process was lost; the searcher decides how it goes on."""
        name = trial.config[TRIAL]
        begun = self._unplaced.pop(name, None) is None
        self._watchdog.ended(name)
        self._live.pending_retries[name] = classify_loss(
            read_error(trial.error_file),
            begun=begun,
            preempted=begun and says_preempted(trial.pickled_error_file),
        )

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: Mapping[str, Any]
    ) -> str:
        """Decide on a report; a trial that failed stops, and may begin again."""
        name = trial.config[TRIAL]
        self._watchdog.reported(name)
        if PLACE in result:
            self._note_start(name, *result[PLACE])
        for note in result.get(NOTES, ()):
            _log.warning("trial %s: %s", name, note)
        if FAULT in result:
            return self._pause(name, Fault(result[FAILED]))
        if FAILED in result:
            return self._fail(name, result[FAILED])
        report = dict(result[REPORT])
        if name not in self._reporting:
            self._reporting.add(name)
            self._live.breaker.began(name)
        step = int(report["step"])
        decision, judged = self._decider.judge(name, step, report)
        asked = self._live.history.trials[name].stop_asked and decision == "continue"
        if asked:
            decision, judged = "stop", None
        made_before = step in self._live.history.trials[name].reports
        made = TrialReported(trial=name, step=step, report=report, decision=decision)
        made.judged = None if judged is None else judged.to_dict()
        self._live.append(made)
        if asked:
            return self._end(name, "stopped", STOPPED_BY)
        if decision == "continue":
            return str(self.CONTINUE) if made_before else self._go_on(name, step)
        return self._end(name, "completed" if decision == "complete" else "stopped")

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The next trial, in order of addition; hanging ones are ended here.

        Ray calls this ten times a second or more, whether or not a trial reports.
        """
        if self._steering is not None:
            self._steering.take_now_and_then()
        for name, trial in list(self._unplaced.items()):
            if trial.status == trial.RUNNING:
                del self._unplaced[name]
                self._watchdog.started(name)
        overdue = self._watchdog.overdue()
        for trial in tune_controller.get_trials() if overdue else ():
            name = trial.config[TRIAL]
            if name in overdue and trial.status == trial.RUNNING:
                self._end(name, "failed", f"no report for {overdue[name]:.0f} s")
                ray.kill(trial.temporary_state.ray_actor)  # Ray then finds its process lost
        waiting = self._unplaced.values()  # Ray's own would look at every trial of the study
        return next((trial for trial in waiting if trial.status == trial.PENDING), None)

    def _note_start(self, name: str, node: str, gpu: str | None, began: float) -> None:
        """Write where an attempt runs, of which its first result is here."""
        attempt = self._live.history.trials[name].attempts + 1
        started = TrialStarted(trial=name, node=node, gpu=gpu, attempt=attempt, began=began)
        self._live.append(started)

    def _go_on(self, name: str, step: int) -> str:
        """Continue a trial, or stop it for the searcher to issue it again as a copy of another."""
        copy = self._population.copy(self._live.history, name, step)
        if copy is None:
            return str(self.CONTINUE)
        self._live.clone(name, copy)
        return self._pause(name, Retry(None))

    def _fail(self, name: str, reason: str) -> str:
        """End a trial that failed, or stop it for the searcher to issue it again."""
        record = self._live.history.trials[name]
        next_step = retry_or_fail_reported(
            record, reason, self._config.trial_config(record.point).batch.images
        )
        if isinstance(next_step, str):
            return self._end(name, "failed", next_step)
        return self._pause(name, next_step)

    def _pause(self, name: str, again: Retry | Fault) -> str:
        self._live.pending_retries[name] = again
        self._watchdog.ended(name)
        return str(self.STOP)

    def _end(self, name: str, state: State, reason: str | None = None) -> str:
        self._live.append(TrialEnded(trial=name, state=state, reason=reason))
        self._watchdog.ended(name)
        return str(self.STOP)
