"""Sends what a ledger holds to MLflow, from a thread that follows it.

Everything it sends it can send again, because a run is found by its tags before one is made, and a
metric carries the time of its ledger line. So every failure is met in one way: wait, forget what
the server was believed to hold, look, and go on from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.dotted import leaves
from tune_sr.ledger.tail import Tail
from tune_sr.storage.append_file import sync_to_disk
from tune_sr.tracking.client import MlflowRuns
from tune_sr.tracking.runs import StudyRun, short_labels
from tune_sr.tracking.store import TrackingStore, short_reason
from tune_sr.tracking.throttle import Pace

_PERIOD_S, _LONGEST_WAIT_S = 1.0, 30.0
_PATIENCE_S = 10.0
"""How long a person is kept waiting at the end for a server that does not answer already."""


class MlflowTracker:
    """Sends what a ledger says to MLflow, from a thread of the driver that nothing waits for.

    Args:
        ledger: the study's ledger; the study's folder is the one it lies in.
        store: where to send.
        experiment: the MLflow experiment's name.
        params_of: point of a trial -> its whole configuration, nested; may raise a ValueError.
        tags: what to tag the study's run with.
        say: takes one line for the person, when MLflow stops taking what it is sent.
    """

    def __init__(
        self,
        ledger: Path,
        store: TrackingStore,
        *,
        experiment: str,
        params_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        tags: Mapping[str, str] | None = None,
        say: Callable[[str], None],
    ) -> None:
        self._ledger, self._store, self._experiment = ledger, store, experiment
        self._params_of, self._tags, self._say = params_of, dict(tags or {}), say
        self._study_run, self._tail = StudyRun(), Tail(ledger)
        self._stop, self._given_up = threading.Event(), threading.Event()
        self._closing = self._sent_all = False
        self._trouble: str | None = None
        self._pace = Pace()
        self._sender = threading.Thread(target=self._send, name="tracking-sender", daemon=True)

    def start(self) -> None:
        """Begin; nothing that MLflow does or fails to do reaches the caller."""
        self._sender.start()

    def close(self, timeout_s: float = 30.0) -> bool:
        """Send the rest, the study's files among it, and leave no run RUNNING.

        To be called when the driver has written its last event, its summary and `best/`.

        Returns:
            Whether MLflow has taken everything; if not, `say` was told what to do.
        """
        self._stop.set()
        self._sender.join(timeout_s if self._trouble is None else min(timeout_s, _PATIENCE_S))
        self._given_up.set()
        if not self._sent_all:
            why = self._trouble or f"it took more than {timeout_s:.0f} s"
            self._tell(f"not everything was sent ({why}); the same command with --resume sends it")
        return self._sent_all

    def _send(self) -> None:
        server: MlflowRuns | None = None
        failures = 0
        while not self._given_up.is_set():
            try:
                server = server or MlflowRuns(self._store, self._experiment)
                if failures == 0:  # else what it had taken is to be sent first
                    self._take()
                self._bring_up_to_date(server)
            except Exception as error:  # a client of a remote service may raise anything
                server, failures = None, failures + 1
                self._trouble = short_reason(error, self._store.uri)
                if failures == 2:  # a hiccup is not worth a word
                    self._tell(f"{self._trouble}; trials go on, what it misses is sent later")
                if self._stop.wait(min(_PERIOD_S * 2**failures, _LONGEST_WAIT_S)):
                    self._given_up.wait(_PERIOD_S)  # closing: try more often, a person waits
                continue
            if failures > 1:
                self._tell("it answers again")
            failures, self._trouble = 0, None
            if self._closing:
                self._sent_all = True
                return

    def _take(self) -> None:
        """Fold some of the events that have come; after the last ones comes the last round.

        The ledger keeps what has to wait: what is held here does not grow with it.
        """
        stopping = self._stop.wait(_PERIOD_S)
        events = self._tail.read()
        if not events and stopping:
            events, self._closing = self._tail.rest(), True
        for event in events:
            self._study_run.apply(event)
        if events:  # what a power cut takes from the ledger must not be on a server
            sync_to_disk(self._ledger)

    def _bring_up_to_date(self, server: MlflowRuns) -> None:
        study_run = self._study_run
        if study_run.study is None:
            return
        if server.parent is None:
            study_run.forget()
            server.find(
                study_run, {**study_run.study_labels(short_labels(self._params({}))), **self._tags}
            )
            self._pace = Pace()  # what it took to look everything up is not counted
        for trial in study_run.unsettled():
            if trial.run_id is None:
                server.open(trial, self._params(trial.point))
            server.send(trial)
            self._stop.wait(self._pace.rest_s())  # not any more when a person waits for the end
        if self._closing:
            server.close(study_run, self._ledger.parent)

    def _params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return dict(leaves(self._params_of(point)))
        except ValueError:  # a point that cannot be configured: its trial says so and ends
            return dict(point)

    def _tell(self, what: str) -> None:
        self._say(f"MLflow at {self._store.shown}: {what}")
