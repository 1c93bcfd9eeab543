"""Ray Tune's searcher of a study: issues unfinished trials first, then new proposals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from trainables.errors import ConfigError
from trainables.ray_trainable import CLONED, HEARD, MICRO_BATCH, TRIAL
from tune_sr.execution.recovery import ATTEMPTS, Fault, LostProcess, Retry, retry_or_fail_lost
from tune_sr.execution.state import StudyState
from tune_sr.ledger.events import TrialAdded, TrialAttempt, TrialEnded
from tune_sr.ledger.history import trial_name
from tune_sr.searchers.context import ProposalCache
from tune_sr.study.config import StudyConfig
from tune_sr.study.until import is_settled, trials_wanted

if TYPE_CHECKING:
    from tune_sr.execution.resources import ClusterCapacity


class LedgerSearcher(Searcher):  # type: ignore[misc]  # Ray's classes are untyped
    """Ray Tune's searcher: issues the trials that have not ended first, then new proposals.

    A trial whose process died is issued again at once, as a resume would: it continues from its
    newest checkpoint. Ray's own retries are not used, since they give up where a process dies
    before its first report.

    Args:
        config: the study.
        live: its ledger and history.
        places: how many trials fit on a cluster, whose nodes come and go; None: this machine.
    """

    def __init__(
        self, config: StudyConfig, live: StudyState, places: ClusterCapacity | None = None
    ) -> None:
        super().__init__()  # without a metric: values are read from the ledger
        self._study, self._live, self._places = config, live, places
        self._waiting = [record.name for record in live.history.running()]
        self._again = dict.fromkeys(self._waiting, Retry("the driver was started again"))
        self._running: dict[str, str] = {}
        self._losses: Counter[str] = Counter()
        self._cache = ProposalCache(config.space, config.settings.objective)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial in Ray's form; None while none fits, or while the last ones run."""
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
        """Forget a trial; issue it again if it has not ended, or goes on as a copy."""
        name = self._running.pop(trial_id)
        setback = self._live.pending_retries.pop(
            name, LostProcess("its process was lost") if error else None
        )
        if setback is None or self._live.history.trials[name].state is not None:
            return
        if isinstance(setback, Fault):
            self._again[name] = Retry(setback.reason)
            self._live.breaker.fault(name, setback.reason)
            return
        next_step = setback if isinstance(setback, Retry) else self._after(name, setback)
        if isinstance(next_step, Retry):
            self._waiting.append(name)
            self._again[name] = next_step
        else:
            self._live.append(TrialEnded(trial=name, state="failed", reason=next_step))

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: all state is in the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Save nothing: all state is in the ledger."""

    def _has_room(self) -> bool:
        """Whether one more trial fits on the cluster; True where none is left to issue."""
        more = self._waiting or self._left() > 0
        return self._places is None or not more or len(self._running) < self._places.slots()

    def _after(self, name: str, loss: LostProcess) -> Retry | str:
        """Decide on a trial whose process was lost: how it begins again, or why it ends."""
        self._losses[name] += loss.counts
        record = self._live.history.trials[name]
        allowed = ATTEMPTS + (self._places.nodes_lost() if self._places is not None else 0)
        images = self._study.trial_config(record.point).batch.images
        return retry_or_fail_lost(record, loss, images, self._losses[name], allowed)

    def _next(self) -> str | None:
        """The name of the next trial; one whose point cannot be configured has ended."""
        self._waiting += self._live.breaker.due()
        if self._waiting:
            name = self._waiting.pop(0)
            _, problem = self._configured(self._live.history.trials[name].point)
        elif self._left() <= 0 or self._live.breaker.pausing:  # a new one would meet the same fault
            return None
        else:
            added, problem = self._add()
            self._live.append(added)
            name = added.trial
        if problem is not None:
            self._live.append(TrialEnded(trial=name, state="failed", reason=problem))
        return name

    def _left(self) -> int:
        """How many trials are still to be added."""
        history = self._live.history
        if is_settled(self._study.settings.until, history, self._cache.scorer):
            return len(history.asked.unanswered())
        return trials_wanted(self._study.settings.trials, history) - len(history.trials)

    def _add(self) -> tuple[TrialAdded, str | None]:
        """The event of a new trial, and why its point cannot be configured."""
        history = self._live.history
        number = history.free_number()
        request, asked = next(iter(history.asked.unanswered().items()), (None, {}))
        if number < len(self._study.space.first_points):
            request = None
        point = asked if request else self._study.propose(history, number, self._cache)
        caveat, problem = self._configured(point)
        name = trial_name(number)
        added = TrialAdded(
            trial=name, number=number, point=point, caveat=caveat or None, request=request
        )
        return added, problem

    def _configured(self, point: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The caveat of a point's configuration, and why the point cannot be configured."""
        try:
            return self._study.trial_config(point).caveat, None
        except ConfigError as error:
            return None, f"invalid: {error}"

    def _issue(self, name: str, trial_id: str) -> dict[str, Any]:
        record = self._live.history.trials[name]
        again = self._again.pop(name, None)
        if again is not None and again.reason is not None:
            attempt = TrialAttempt(
                trial=name,
                attempt=record.attempts + 2,
                reason=again.reason,
                micro_batch=again.micro_batch,
            )
            self._live.append(attempt)
        self._running[trial_id] = name
        given = {TRIAL: name, HEARD: max(record.reports, default=0), **record.point}
        if record.micro_batch is not None:
            given[MICRO_BATCH] = record.micro_batch
        if record.clones:
            given[CLONED] = (record.clones[-1].source, record.clones[-1].step)
        return given


class RepeatSearcher(LedgerSearcher):
    """Ray Tune's searcher of a confirmation: issues given repeats of trials, and proposes nothing.

    Args:
        config: the study.
        live: its ledger, and the history of its confirmation.
        missing: returns the repeats that the ledger lacks; of a race, more once others have ended.
        places: how many trials fit on a cluster, whose nodes come and go; None: this machine.
    """

    def __init__(
        self,
        config: StudyConfig,
        live: StudyState,
        missing: Callable[[], Sequence[TrialAdded]],
        places: ClusterCapacity | None = None,
    ) -> None:
        super().__init__(config, live, places)
        self._missing = missing
        self._known: tuple[int, int] | None = None
        self._due: list[TrialAdded] = []

    def _left(self) -> int:
        records = self._live.history.trials.values()
        known = len(records), sum(each.state is not None for each in records)
        if known != self._known:  # Ray asks ten times a second
            self._known, self._due = known, list(self._missing())
        return len(self._due)

    def _add(self) -> tuple[TrialAdded, str | None]:
        added = self._due[0]
        return added, self._configured(added.point)[1]
