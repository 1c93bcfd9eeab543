"""Creates and updates the runs of one study in an MLflow store; the only import of mlflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tune_sr.storage.layout import BEST_FILES, STUDY_FILES
from tune_sr.tracking.runs import (
    MetricPoint,
    StudyRun,
    TrialRun,
    read_summary,
    short_labels,
    summary_points,
)
from tune_sr.tracking.store import TrackingStore

_BATCH = 1000
"""Most metrics that MLflow accepts in one request."""
_VALUE_LIMIT = 500
"""Characters kept of a parameter's or tag's value: MLflow refuses more than 6,000 of them."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment that keeps mlflow from sending usage data and from waiting for minutes."""
_STUDY, _TRIAL, _IDENTITY = "tune_sr.study", "tune_sr.trial", "tune_sr.study_id"


class MlflowRuns:
    """The runs of one study in one MLflow store, as far as they have been looked up.

    Constructing it opens the store, creates its tables where it is a new database, and finds or
    creates the experiment. Any method may raise whatever mlflow raises; discard the object then.

    Args:
        store: where MLflow keeps its records.
        experiment: name of the experiment.

    Raises:
        ValueError: the experiment was deleted in that store.
    """

    def __init__(self, store: TrackingStore, experiment: str) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with store.locked():
            self._client = MlflowClient(tracking_uri=store.uri)
            self._experiment_id = self._experiment(experiment, store.artifacts)
        self._found: dict[str, Any] = {}
        self._tags: dict[str, str] = {}
        self.parent: str | None = None

    def find(self, study_run: StudyRun, tags: Mapping[str, str]) -> None:
        """Look up a study's runs; create or reopen the parent run, and set its tags.

        Where a trial has several runs, because a request that seemed to fail had succeeded, one is
        kept: a run that holds its trial's end if there is one, else the oldest.

        Args:
            study_run: the study, whose `study_started` has been read.
            tags: tags of the parent run.
        """
        assert study_run.study is not None
        self._tags = {_STUDY: str(study_run.study["name"]), _IDENTITY: study_run.identity}
        for run in self._search(f"tags.`{_IDENTITY}` = '{study_run.identity}'"):
            name = run.data.tags.get(_TRIAL, "")
            if name in self._found:
                self._client.delete_run(run.info.run_id)
            else:
                self._found[name] = run
        parent_tags = {**self._tags, **tags}
        parent = self._found.pop("", None)
        if parent is None:
            began, name = round(1000 * study_run.study["time"]), study_run.study["name"]
            parent = self._client.create_run(self._experiment_id, began, parent_tags, run_name=name)
        elif parent.info.status != "RUNNING":
            self._client.update_run(parent.info.run_id, status="RUNNING")
        self._log(parent.info.run_id, tags=parent_tags)
        self.parent = parent.info.run_id

    def open(self, trial: TrialRun, params: Mapping[str, Any]) -> None:
        """Find or create a trial's run and set `trial.run_id`.

        A run that already holds the trial's end is complete and is not changed.

        Args:
            trial: a trial without `run_id`.
            params: its configuration, flat by dotted path: the run's parameters.
        """
        run = self._found.pop(trial.name, None)
        if run is None:
            tags = {**self._tags, **short_labels(params), _TRIAL: trial.name}
            tags |= {"mlflow.parentRunId": str(self.parent), **trial.tags}
            began, name = trial.added_ms, f"{self._tags[_STUDY]} {trial.name}"
            run = self._client.create_run(self._experiment_id, began, tags, run_name=name)
        trial.run_id = run.info.run_id
        if trial.state is not None and run.data.tags.get("state") == trial.state:
            if run.info.status != "RUNNING":
                trial.complete, trial.reports = True, {}
                return
        elif run.info.status != "RUNNING":
            self._client.update_run(trial.run_id, status="RUNNING")
        missing = {key: value for key, value in params.items() if key not in run.data.params}
        self._log(trial.run_id, params=missing)

    def send(self, trial: TrialRun) -> None:
        """Send what a trial's run lacks, the end last: a run that holds the end lacks nothing."""
        if trial.complete:
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
            trial.complete, trial.reports = True, {}

    def close(self, study_run: StudyRun, folder: Path, summary_keys: Sequence[str]) -> None:
        """Leave no run RUNNING, and upload the study's files.

        Args:
            study_run: the study, every trial of which has been opened and sent.
            folder: the study's folder, with `summary.json`, `best/` and what else there is.
            summary_keys: keys of each result in the summary that become curves of the parent run.
        """
        assert self.parent is not None
        for trial in study_run.unsettled():
            self._client.set_terminated(trial.run_id, "KILLED", study_run.last_ms)
        summary = read_summary(folder)
        chosen = summary.get("best") or {}
        tags = _caveat(chosen.get("caveat"))
        points = summary_points(summary, summary_keys, study_run.last_ms)
        self._log(self.parent, points=points, tags=tags)
        status = (
            "KILLED" if not study_run.finished else "FAILED" if study_run.failed else "FINISHED"
        )
        self._client.set_terminated(self.parent, status, study_run.last_ms)
        self._upload(self.parent, folder, STUDY_FILES)
        for run_id, kept in study_run.students(summary):
            self._upload(run_id, folder / kept, BEST_FILES)

    def _upload(self, run_id: str, folder: Path, names: Sequence[str]) -> None:
        for path in (folder / name for name in names):
            if path.is_file():
                self._client.log_artifact(run_id, str(path))

    def _log(
        self,
        run_id: str,
        *,
        points: Sequence[MetricPoint] = (),
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
        """All runs that match, those that hold a trial's end first, each group oldest first."""
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
    """The tag `caveat`, where there is one."""
    return {"caveat": caveat} if caveat else {}


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _VALUE_LIMIT else f"{text[: _VALUE_LIMIT - 3]}..."
