"""A running study: its ledger, and the history of the events in it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tune_sr.execution.circuit_breaker import CircuitBreaker
from tune_sr.execution.recovery import Fault, LostProcess, Retry, may_be_retried
from tune_sr.ledger.events import Event, NewEvent, TrialCloned, TrialEnded, TrialRetried
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import Ledger
from tune_sr.schedulers.pbt import PopulationBasedTraining, Replacement
from tune_sr.study.resume import without_secrets_of_old


class StudyState:
    """A running study: each event appended to its ledger is taken into its history too."""

    def __init__(self, ledger: Ledger, keys: Collection[str] | None = None) -> None:
        """Read a ledger.

        Args:
            ledger: the study's.
            keys: the figures of reports that searcher and scheduler read; None: all.
        """
        events = [without_secrets_of_old(event) for event in ledger.events()]
        self.ledger = ledger
        self.history = History.from_events(events, keys)
        self.pending_retries: dict[str, Retry | LostProcess | Fault] = {}
        """By trial that is to begin again: why, as the scheduler found it."""
        self.breaker = CircuitBreaker()
        self.ending: Callable[[], bool] = _never
        """Whether the driver has been asked to end."""

    def append(self, event: NewEvent) -> Event:
        """Write an event and take it into account."""
        written = self.ledger.append(event)
        self.history.apply(written)
        return written

    def of_confirmation(self) -> StudyState:
        """The same study, with the repeats of its confirmation in the place of its trials."""
        return _ConfirmationState(self)

    def write_missing_ends(self) -> None:
        """Append the `trial_ended` events that a killed driver decided on but did not write."""
        for record in self.history.all_records():
            if record.state is not None and not record.end_written:
                self.append(TrialEnded(trial=record.name, state=record.state, reason=None))

    def write_missing_clone(self, population: PopulationBasedTraining) -> None:
        """Append the `cloned` event that a killed driver decided on but did not write.

        Call before any other append: only the ledger's last event can lack one.
        """
        due = population.unwritten_replacement(list(self.ledger.events()))
        if due is not None:
            self.clone(*due)

    def retry_failed(self) -> None:
        """Open the trials again that failed and satisfy `may_be_retried`."""
        for record in filter(may_be_retried, list(self.history.trials.values())):
            self.append(TrialRetried(trial=record.name, reason=record.reason))

    def clone(self, trial: str, copy: Replacement) -> None:
        """Append the `cloned` event of a trial that goes on as a copy of another."""
        self.append(TrialCloned(trial=trial, **copy._asdict()))


class _ConfirmationState(StudyState):
    """A study as searcher and scheduler see it while its confirmation runs."""

    def __init__(self, study: StudyState) -> None:
        self._study = study
        self.ledger, self.breaker, self.ending = study.ledger, study.breaker, study.ending
        self.pending_retries = {}
        if study.history.confirmation is None:
            study.history.confirmation = History(keys=study.history.keys)
        self.history = study.history.confirmation
        self.history.study = study.history.study

    def append(self, event: NewEvent) -> Event:
        """Write an event and take it into account."""
        return self._study.append(event)


def _never() -> bool:
    return False
