"""MLflow, as a reader of the ledger: a run for the study, and in it a nested run for each trial.

It translates and computes nothing. Everything it sends it can send again, because a run is found by
its tags before one is made, and a metric carries the time of its ledger line. So every failure is
met in one way: wait, forget what the server was believed to hold, look, and go on from there.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.dotted import leaves
from tune_sr.lines import sync_to_disk
from tune_sr.mirror import Mirror, Point, TrialMirror, read_summary, summary_points, titles
from tune_sr.pace import Pace
from tune_sr.store import Store, reason_of
from tune_sr.tail import Tail

_PERIOD_S, _LONGEST_WAIT_S = 1.0, 30.0
_PATIENCE_S = 10.0
"""How long a person is kept waiting at the end for a server that does not answer already."""
_BATCH = 1000
"""Metrics that MLflow accepts in one request."""
_VALUE_LIMIT = 500
"""Characters of a parameter's value: MLflow refuses more than 6,000, its tables show fewer."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_STUDY_FILES = ("space.yaml", "study.json", "summary.json", "results.csv", "best/panel.png")
_BEST_FILES = ("panel.png", "config.yaml", "student.safetensors")
_STUDY, _TRIAL, _IDENTITY = "tune_sr.study", "tune_sr.trial", "tune_sr.study_id"


class Tracker:
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
        store: Store,
        *,
        experiment: str,
        params_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        tags: Mapping[str, str] | None = None,
        say: Callable[[str], None],
    ) -> None:
        self._ledger, self._store, self._experiment = ledger, store, experiment
        self._params_of, self._tags, self._say = params_of, dict(tags or {}), say
        self._mirror, self._tail = Mirror(), Tail(ledger)
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
        server: _Server | None = None
        failures = 0
        while not self._given_up.is_set():
            try:
                server = server or _Server(self._store, self._experiment)
                if failures == 0:  # else what it had taken is to be sent first
                    self._take()
                self._bring_up_to_date(server)
            except Exception as error:  # a client of a remote service may raise anything
                server, failures = None, failures + 1
                self._trouble = reason_of(error, self._store.uri)
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
            self._mirror.apply(event)
        if events:  # what a power cut takes from the ledger must not be on a server
            sync_to_disk(self._ledger)

    def _bring_up_to_date(self, server: _Server) -> None:
        mirror = self._mirror
        if mirror.study is None:
            return
        if server.parent is None:
            mirror.forget()
            server.find(mirror, {**mirror.common(titles(self._params({}))), **self._tags})
            self._pace = Pace()  # what it took to look everything up is not counted
        for trial in mirror.unsettled():
            if trial.run_id is None:
                server.open(trial, self._params(trial.point))
            server.send(trial)
            self._stop.wait(self._pace.rest_s())  # not any more when a person waits for the end
        if self._closing:
            server.close(mirror, self._ledger.parent)

    def _params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return dict(leaves(self._params_of(point)))
        except ValueError:  # a point that cannot be configured: its trial says so and ends
            return dict(point)

    def _tell(self, what: str) -> None:
        self._say(f"MLflow at {self._store.shown}: {what}")


class _Server:
    """The runs of one study on one MLflow server, as far as they have been looked up."""

    def __init__(self, store: Store, experiment: str) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with store.being_opened():
            self._client = MlflowClient(tracking_uri=store.uri)
            self._experiment_id = self._experiment(experiment, store.artifacts)
        self._found: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self.parent: str | None = None

    def find(self, mirror: Mirror, tags: Mapping[str, str]) -> None:
        """Look up the runs of a study; make the parent where there is none, reopen it where it is.

        Of several runs of one trial (a request that seemed to fail and had not) one is kept.
        """
        assert mirror.study is not None
        self._tags = {_STUDY: str(mirror.study["name"]), _IDENTITY: mirror.identity}
        for run in self._search(f"tags.`{_IDENTITY}` = '{mirror.identity}'"):
            name = run.data.tags.get(_TRIAL, "")
            if name in self._found:
                self._client.delete_run(run.info.run_id)
            else:
                self._found[name] = run
        parent_tags = {**self._tags, **tags}
        parent = self._found.pop("", None)
        if parent is None:
            began, name = round(1000 * mirror.study["time"]), mirror.study["name"]
            parent = self._client.create_run(self._experiment_id, began, parent_tags, run_name=name)
        elif parent.info.status != "RUNNING":
            self._client.update_run(parent.info.run_id, status="RUNNING")
        self._log(parent.info.run_id, tags=parent_tags)
        self.parent = parent.info.run_id

    def open(self, trial: TrialMirror, params: Mapping[str, Any]) -> None:
        """Find or make the run of a trial; a run that holds its end already is left alone."""
        run = self._found.pop(trial.name, None)
        if run is None:
            tags = {**self._tags, **titles(params), _TRIAL: trial.name}
            tags |= {"mlflow.parentRunId": str(self.parent), **trial.tags}
            began, name = trial.added_ms, f"{self._tags[_STUDY]} {trial.name}"
            run = self._client.create_run(self._experiment_id, began, tags, run_name=name)
        trial.run_id = run.info.run_id
        if trial.state is not None and run.data.tags.get("state") == trial.state:
            if run.info.status != "RUNNING":
                trial.settled, trial.reports = True, {}
                return
        elif run.info.status != "RUNNING":
            self._client.update_run(trial.run_id, status="RUNNING")
        missing = {key: value for key, value in params.items() if key not in run.data.params}
        self._log(trial.run_id, params=missing)

    def send(self, trial: TrialMirror) -> None:
        """Send what the run of a trial lacks, its end last: who finds the end finds the rest."""
        if trial.settled:
            return
        assert trial.run_id is not None
        if trial.reopened:
            self._client.update_run(trial.run_id, status="RUNNING")
            self._log(trial.run_id, tags={"state": "", "reason": ""})
            trial.reopened = False
        while trial.sent < len(trial.reports):
            points, taken = trial.unsent(_BATCH)
            self._log(trial.run_id, points=points, tags=trial.tags)
            trial.sent += taken
        if trial.state is not None:
            reason = {"reason": trial.reason} if trial.reason else {}
            self._log(trial.run_id, tags={"state": trial.state, **reason, **trial.tags})
            status = "FAILED" if trial.state == "failed" else "FINISHED"
            self._client.set_terminated(trial.run_id, status, trial.ended_ms)
            trial.settled, trial.reports = True, {}

    def close(self, mirror: Mirror, folder: Path) -> None:
        """Leave no run RUNNING, then bring the study's files."""
        assert self.parent is not None
        for trial in mirror.unsettled():
            self._client.set_terminated(trial.run_id, "KILLED", mirror.last_ms)
        summary = read_summary(folder)
        chosen = summary.get("best") or {}
        tags = _caveat(chosen.get("caveat"))
        self._log(self.parent, points=summary_points(summary, mirror.last_ms), tags=tags)
        status = "KILLED" if not mirror.finished else "FAILED" if mirror.failed else "FINISHED"
        self._client.set_terminated(self.parent, status, mirror.last_ms)
        self._upload(self.parent, folder, _STUDY_FILES)
        for run_id, kept in mirror.students(summary):
            self._upload(run_id, folder / kept, _BEST_FILES)

    def _upload(self, run_id: str, folder: Path, names: Sequence[str]) -> None:
        for path in (folder / name for name in names):
            if path.is_file():
                self._client.log_artifact(run_id, str(path))

    def _log(
        self,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=[Metric(*point) for point in points],
            params=[Param(key, _cut(value)) for key, value in (params or {}).items()],
            tags=[RunTag(key, _cut(value)) for key, value in (tags or {}).items()],
        )

    def _search(self, text: str) -> list[Any]:
        """All runs that match: those that hold their end first, then the oldest."""
        runs: list[Any] = []
        token: str | None = None
        while token != "":
            page = self._client.search_runs([self._experiment_id], text, page_token=token)
            runs, token = runs + list(page), page.token or ""
        return sorted(runs, key=lambda run: ("state" not in run.data.tags, run.info.start_time))

    def _experiment(self, name: str, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name, artifact_location=artifacts))
        if found.lifecycle_stage != "active":
            rule = f"experiment {name} was deleted there"
            raise ValueError(f"{rule}: restore it, or choose another by study.experiment")
        return str(found.experiment_id)


def _caveat(caveat: str | None) -> dict[str, str]:
    """The tag of a run whose figures have one."""
    return {"caveat": caveat} if caveat else {}


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _VALUE_LIMIT else f"{text[: _VALUE_LIMIT - 3]}..."
