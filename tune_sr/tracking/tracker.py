"""Keeps a process that sends a study's ledger to MLflow, for as long as a driver works on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.dotted import leaves
from tune_sr.objectives.objective import PSNR_ONLY
from tune_sr.tracking.messages import TrackingSettings
from tune_sr.tracking.process import EXIT_S, SenderProcess
from tune_sr.tracking.store import TrackingStore, short_reason

_PATIENCE_S = 10.0
"""Seconds that `close` waits for a store that fails to answer to answer again."""
_RESTARTS, _FIRST_PAUSE_S = 8, 1.0
"""How often in a row the process is started again, and the pause before that, doubled each time."""
_HEALTHY_S = 600.0
"""A process that has run for so long starts the count of restarts anew."""


class MlflowTracker:
    """Sends a study's ledger to MLflow from a process of its own, which nothing waits for.

    The driver's process takes no part in sending and does not import mlflow for it: one thread
    sleeps until the sending process needs a trial's configuration or has failed.

    Args:
        ledger: the study's ledger; the study's other files lie in the same folder.
        store: where MLflow keeps its records.
        experiment: name of the MLflow experiment.
        params_of: returns a trial's whole configuration, nested, given its point; may raise a
            ValueError, after which the point itself is recorded.
        summary_keys: keys of each result in summary.json that become curves of the study's run.
        tags: tags of the study's run.
        say: takes one line for the person when MLflow stops or resumes taking what it is sent.
        objective: the key of reports to maximise, and the cost to minimise if there is one.
        growth_of: returns the update of a student's last growth, given its point; may raise a
            ValueError, as `params_of`.
        period_s: seconds between two readings of the ledger.
        complete: called by `close`, to write what of the study's files only MLflow needs.
    """

    def __init__(
        self,
        ledger: Path,
        store: TrackingStore,
        *,
        experiment: str,
        params_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        summary_keys: Sequence[str],
        tags: Mapping[str, str] | None = None,
        say: Callable[[str], None],
        objective: Sequence[str] = PSNR_ONLY.keys,
        growth_of: Callable[[Mapping[str, Any]], int] = lambda point: 0,
        period_s: float = 1.0,
        complete: Callable[[], Any] = lambda: None,
    ) -> None:
        self._settings = TrackingSettings(
            *(ledger, store, experiment, dict(tags or {})),
            *(tuple(summary_keys), period_s, tuple(objective)),
        )
        self._params_of, self._growth_of, self._say = params_of, growth_of, say
        self._complete = complete
        self.view: str | None = None
        """The address of the study's view in MLflow's pages, once everything was sent."""
        self._lock = threading.Lock()  # of the process, and of the two events that it must see
        self._process: SenderProcess | None = None
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._sent_all = False
        self._failures, self._announced = 0, False
        self._trouble: str | None = None
        self._answers = threading.Event()  # cleared while requests to the store fail
        self._answers.set()
        self._supervisor = threading.Thread(target=self._supervise, name="tracking", daemon=True)

    def start(self) -> None:
        """Begin to send, and return at once; no failure of MLflow reaches the caller."""
        self._supervisor.start()

    def close(self, timeout_s: float = 30.0) -> bool:
        """Send the rest, the study's files included, and leave no run RUNNING.

        Call it after the driver has written its last event, its summary and `best/`. On return the
        process has ended.

        Args:
            timeout_s: how long to wait for MLflow; 10 s where it does not answer in that time.

        Returns:
            Whether MLflow has taken everything; if not, `say` has received what to do.
        """
        self._complete()
        until = time.monotonic() + timeout_s
        with self._lock:
            self._closing.set()
            if self._process is not None:
                self._process.close()
        if self._answers.wait(min(timeout_s, _PATIENCE_S)):
            self._supervisor.join(max(0.0, until - time.monotonic()))
        with self._lock:
            self._given_up.set()
            if self._process is not None:
                self._process.kill()
        self._supervisor.join(EXIT_S)
        if not self._sent_all:
            why = self._trouble or f"it took more than {timeout_s:.0f} s"
            self._tell(f"not everything was sent ({why}); the same command with --resume sends it")
        return self._sent_all

    def _supervise(self) -> None:
        """Run the process, and again after a pause where it dies, until everything is sent."""
        deaths = 0
        while True:
            began = time.monotonic()
            ended = self._run_process()
            if self._sent_all or self._given_up.is_set():
                return
            deaths = 1 if time.monotonic() - began > _HEALTHY_S else deaths + 1
            self._answers.set()  # as far as anyone knows
            self._fail(ended, announce=True)
            if deaths > _RESTARTS:
                return
            self._closing.wait(_FIRST_PAUSE_S * 2 ** (deaths - 1))

    def _run_process(self) -> str:
        """Start the process and answer it until its end; returns how it ended, in a few words."""
        try:
            with self._lock:
                if self._given_up.is_set():
                    return ""
                process = self._process = SenderProcess(self._settings)
                if self._closing.is_set():
                    process.close()
        except OSError as error:
            return f"the process that sends to it cannot be started: {short_reason(error)}"
        for message in process.messages():
            self._handle(process, message)
        ended = process.wait()
        with self._lock:
            self._process = None
        return ended

    def _handle(self, process: SenderProcess, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if kind == "params_wanted":
            process.answer(*self._described(message["point"]))
        elif kind == "failed":
            self._answers.clear()
            self._fail(message["reason"], announce=self._failures > 0)  # one hiccup is no news
        elif kind == "up_to_date":
            if self._announced:
                self._tell("it answers again")
            self._failures, self._announced = 0, False
            self._trouble = None
            self._answers.set()
        elif kind == "closed":
            self._sent_all, self.view = True, message.get("view")

    def _fail(self, reason: str, *, announce: bool) -> None:
        self._trouble, self._failures = reason, self._failures + 1
        if announce and not self._announced:
            self._announced = True
            self._tell(f"{reason}; trials go on, what it misses is sent later")

    def _described(self, point: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
        """The flat configuration of a point, and the update of its student's last growth."""
        try:
            return dict(leaves(self._params_of(point))), self._growth_of(point)
        except ValueError:  # a point that cannot be configured: its trial fails for that reason
            return dict(point), None

    def _tell(self, what: str) -> None:
        self._say(f"MLflow at {self._settings.store.shown}: {what}")
