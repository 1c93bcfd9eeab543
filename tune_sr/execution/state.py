"""A study as it goes on: its ledger with what its events add up to, kept in step."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tune_sr.execution.circuit_breaker import CircuitBreaker
from tune_sr.execution.recovery import Fault, LostProcess, Retry, may_be_retried
from tune_sr.ledger.events import Event, NewEvent, TrialCloned, TrialEnded, TrialRetried
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import Ledger
from tune_sr.ledger.usage import GpuMeter
from tune_sr.schedulers.pbt import PopulationBasedTraining, Replacement
from tune_sr.study.resume import without_secrets_of_old


class StudyState:
    """A study as it goes on: its ledger, and the folds of it, in step."""

    def __init__(self, ledger: Ledger, keys: Collection[str] | None = None) -> None:
        """Fold what a ledger has.

        Args:
            ledger: the study's.
            keys: the figures of reports that searcher and scheduler look at; None: all.
        """
        events = [without_secrets_of_old(event) for event in ledger.events()]
        self.ledger = ledger
        self.history, self.gpu_meter = (
            History.from_events(events, keys),
            GpuMeter.from_events(events),
        )
        self.pending_retries: dict[str, Retry | LostProcess | Fault] = {}
        """By trial: what the scheduler has seen of one that is to begin again."""
        self.breaker = CircuitBreaker()
        self.ending: Callable[[], bool] = _never
        """Whether the driver has been asked to end."""

    def append(self, event: NewEvent) -> Event:
        """Write an event and take it into account."""
        written = self.ledger.append(event)
        self.history.apply(written)
        self.gpu_meter.apply(written)
        return written

    def write_missing_ends(self) -> None:
        """Write the ends that a driver decided on and died before it could write."""
        settled = set()
        for event in self.ledger.events():
            if event["event"] == "trial_ended":
                settled.add(event["trial"])
            elif event["event"] == "retried":
                settled.discard(event["trial"])
        for record in list(self.history.trials.values()):
            if record.state is not None and record.name not in settled:
                self.append(TrialEnded(trial=record.name, state=record.state, reason=None))

    def write_missing_clone(self, population: PopulationBasedTraining) -> None:
        """Write the copy that a driver decided on and died before it could write, if there is one.

        Before anything else is written: only the last event tells.
        """
        due = population.unwritten_replacement(list(self.ledger.events()))
        if due is not None:
            self.clone(*due)

    def retry_failed(self) -> None:
        """Open the trials again that failed and `may_be_retried`."""
        for record in filter(may_be_retried, list(self.history.trials.values())):
            self.append(TrialRetried(trial=record.name, reason=record.reason))

    def clone(self, trial: str, copy: Replacement) -> None:
        """Write down what a trial goes on as."""
        self.append(TrialCloned(trial=trial, **copy._asdict()))


def _never() -> bool:
    return False
