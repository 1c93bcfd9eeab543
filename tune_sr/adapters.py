"""The ledger's two voices in Ray's loop: what runs next, and what goes on.

Both only carry words between Ray and the pure functions `propose` and `decide`. Everything is keyed
by our trial names; Ray's trial ids change with every start, and here with every attempt.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from trainables.ray_trainable import (
    CLONED,
    FAILED,
    FAULT,
    HEARD,
    MICRO_BATCH,
    NOTES,
    REPORT,
    TRIAL,
)
from trainables.values import ConfigError
from tune_sr.faults import (
    ATTEMPTS,
    Again,
    Fault,
    Loss,
    after_failure,
    after_loss,
    read_error,
    why_lost,
)
from tune_sr.judging import Judge
from tune_sr.ledger import State, trial_name
from tune_sr.live import Live
from tune_sr.patience import Patience
from tune_sr.population import Population
from tune_sr.searchers import propose

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    from tune_sr.asking import Told
    from tune_sr.places import Places
    from tune_sr.study import StudyConfig

_log = logging.getLogger(__name__)


class LedgerSearcher(Searcher):  # type: ignore[misc]  # Ray's classes are untyped
    """Issues first the trials that the ledger added and did not end, then new proposals.

    A trial whose process died is issued again at once, as a resume would: it continues from its
    newest checkpoint. Ray's own retries are not used, since they give up where a process dies
    before its first report.

    On a cluster, `places` says how many trials it takes as its nodes come and go.
    """

    def __init__(self, config: StudyConfig, live: Live, places: Places | None = None) -> None:
        super().__init__()  # no metric of Ray's: values are read from the ledger
        self._study, self._live, self._places = config, live, places
        self._waiting = [record.name for record in live.history.running()]
        self._again = dict.fromkeys(self._waiting, Again("the driver was started again"))
        self._running: dict[str, str] = {}
        self._losses: Counter[str] = Counter()
        self._told: Told = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial in Ray's form; None while there is no room, or what is left is running."""
        if self._live.breaker.tripped:
            return None if self._running else str(Searcher.FINISHED)
        if not self._has_room():
            return None
        while (name := self._next()) is not None:
            if self._live.history.trials[name].state is None:
                return self._issue(name, trial_id)
        waits = self._running or (self._live.breaker.pausing and not self._live.ending())
        return None if waits else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Let go of a trial; issue it again if it has not ended, or goes on as a copy."""
        name = self._running.pop(trial_id)
        setback = self._live.setbacks.pop(name, Loss("its process was lost") if error else None)
        if setback is None or self._live.history.trials[name].state is not None:
            return
        if isinstance(setback, Fault):
            self._again[name] = Again(setback.reason)
            self._live.breaker.fault(name, setback.reason)
            return
        next_step = setback if isinstance(setback, Again) else self._after(name, setback)
        if isinstance(next_step, Again):
            self._waiting.append(name)
            self._again[name] = next_step
        else:
            self._live.append("trial_ended", trial=name, state="failed", reason=next_step)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """No file of the searcher beside the ledger."""

    def _has_room(self) -> bool:
        """Whether a node could take one more; of no account where there is no more."""
        more = self._waiting or len(self._live.history.trials) < self._study.trials
        return self._places is None or not more or len(self._running) < self._places.count()

    def _after(self, name: str, loss: Loss) -> Again | str:
        """What follows when the process of a trial is lost."""
        self._losses[name] += loss.counts
        record = self._live.history.trials[name]
        allowed = ATTEMPTS + (self._places.lost() if self._places is not None else 0)
        images = self._study.configure(record.point).batch.images
        return after_loss(record, loss, images, self._losses[name], allowed)

    def _next(self) -> str | None:
        """The next trial; one whose point cannot be configured has thereby ended."""
        study, history = self._study, self._live.history
        self._waiting += self._live.breaker.due()
        if self._waiting:
            name = self._waiting.pop(0)
            _, problem = self._configured(history.trials[name].point)
        elif self._live.breaker.pausing:  # a new trial would meet the same fault
            return None
        elif len(history.trials) < study.trials:
            number = history.free_number()
            name, objective = trial_name(number), study.objective
            known = study.searcher, study.space, study.seed, history
            point = propose(*known, number, objective, self._told)
            caveat, problem = self._configured(point)
            # Every reader of the ledger shall say it beside this trial's result.
            said = {"caveat": caveat} if caveat else {}
            self._live.append("trial_added", trial=name, number=number, point=point, **said)
        else:
            return None
        if problem is not None:
            self._live.append("trial_ended", trial=name, state="failed", reason=problem)
        return name

    def _configured(self, point: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The caveat of what a point means; or why it means nothing."""
        try:
            return self._study.configure(point).caveat, None
        except ConfigError as error:
            return None, f"invalid: {error}"

    def _issue(self, name: str, trial_id: str) -> dict[str, Any]:
        record = self._live.history.trials[name]
        again = self._again.pop(name, None)
        if again is not None and again.reason is not None:
            told = {"attempt": record.attempts + 2, "reason": again.reason}
            changed = {} if again.micro_batch is None else {MICRO_BATCH: again.micro_batch}
            self._live.append("attempt", trial=name, **told, **changed)
        self._running[trial_id] = name
        given = {TRIAL: name, HEARD: max(record.reports, default=0), **record.point}
        if record.micro_batch is not None:
            given[MICRO_BATCH] = record.micro_batch
        if record.clones:
            given[CLONED] = (record.clones[-1].source, record.clones[-1].step)
        return given


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray's classes are untyped
    """Writes down every report with the decision on it before Ray hears of either."""

    def __init__(self, config: StudyConfig, live: Live) -> None:
        super().__init__()
        self._study, self._live = config, live
        self._judge = Judge(
            config.scheduler, config.space.budget, live.history, config.objective, config.seed
        )
        self._population = Population.of(config)
        self._patience = Patience()
        self._unplaced: dict[str, Trial] = {}
        self._reporting: set[str] = set()

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Once it runs, a trial may not be silent for ever; it may wait for a place."""
        self._unplaced[trial.config[TRIAL]] = trial
        self._reporting.discard(trial.config[TRIAL])

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Its process is lost; the searcher says what becomes of it."""
        name = trial.config[TRIAL]
        begun = self._unplaced.pop(name, None) is None
        self._patience.ended(name)
        self._live.setbacks[name] = why_lost(read_error(trial.error_file), begun=begun)

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: Mapping[str, Any]
    ) -> str:
        """What `decide` says; a trial that failed stops, and may begin again."""
        name = trial.config[TRIAL]
        self._patience.heard(name)
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
        decision = self._judge.decide(name, step, report)
        made_before = step in self._live.history.trials[name].reports
        self._live.append("reported", trial=name, step=step, report=report, decision=decision)
        if decision == "continue":
            return str(self.CONTINUE) if made_before else self._go_on(name, step)
        return self._end(name, "completed" if decision == "complete" else "stopped")

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """As they come. Ray asks ten times a second or more, so here is seen which trials hang."""
        for name, trial in list(self._unplaced.items()):
            if trial.status == trial.RUNNING:
                del self._unplaced[name]
                self._patience.begun(name)
        overdue = self._patience.overdue()
        for trial in tune_controller.get_trials() if overdue else ():
            name = trial.config[TRIAL]
            if name in overdue and trial.status == trial.RUNNING:
                self._end(name, "failed", f"no report for {overdue[name]:.0f} s")
                ray.kill(trial.temporary_state.ray_actor)  # Ray then finds its process lost
        waiting = self._unplaced.values()  # Ray's own would look at every trial there ever was
        return next((trial for trial in waiting if trial.status == trial.PENDING), None)

    def _go_on(self, name: str, step: int) -> str:
        """As it is; or it stops here, and the searcher issues it again as a copy of another."""
        copy = self._population.copy(self._live.history, name, step)
        if copy is None:
            return str(self.CONTINUE)
        self._live.clone(name, copy)
        return self._pause(name, Again(None))

    def _fail(self, name: str, reason: str) -> str:
        """It has ended; or it stops here, and the searcher issues it again."""
        record = self._live.history.trials[name]
        next_step = after_failure(record, reason, self._study.configure(record.point).batch.images)
        if isinstance(next_step, str):
            return self._end(name, "failed", next_step)
        return self._pause(name, next_step)

    def _pause(self, name: str, again: Again | Fault) -> str:
        self._live.setbacks[name] = again
        self._patience.ended(name)
        return str(self.STOP)

    def _end(self, name: str, state: State, reason: str | None = None) -> str:
        self._live.append("trial_ended", trial=name, state=state, reason=reason)
        self._patience.ended(name)
        return str(self.STOP)
