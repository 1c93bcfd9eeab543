"""Creates and updates the runs of one study in an MLflow store.

With `logged_model` the only import of mlflow.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.snapshot_files import KINDS, snapshots_of
from tune_sr.storage.layout import BEST, BEST_FILES, GRAPH, STUDY_FILES
from tune_sr.tracking.described import (
    EXPERIMENT_END,
    ImageSet,
    caveat_tag,
    cut,
    experiment_note,
    image_sets,
    run_name,
    short_labels,
    study_note,
    study_params,
    verdict_line,
)
from tune_sr.tracking.images import log_images
from tune_sr.tracking.logged_model import log_student
from tune_sr.tracking.runs import (
    MetricPoint,
    StudyRun,
    TrialRun,
    read_summary,
    summary_points,
)
from tune_sr.tracking.saved_view import STUDY, TRIAL, view_link, view_state, view_tag
from tune_sr.tracking.store import TrackingStore

_BATCH = 1000
"""Most metrics that MLflow accepts in one request."""
_PARAMS = 100
"""Most parameters that it accepts in one request."""
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment that keeps mlflow from sending usage data and from waiting for minutes."""
_IDENTITY, _LINE, _NOTE = "tune_sr.study_id", "tune_sr.outcome.", "mlflow.note.content"


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
        self._store = store
        self._view: str | None = None
        self._images: list[ImageSet] = []
        self._of_study = ""
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
        self._tags = {STUDY: str(study_run.study["name"]), _IDENTITY: study_run.identity}
        self._of_study = f"tags.`{_IDENTITY}` = '{study_run.identity}'"
        for run in self._search(self._of_study):
            name = run.data.tags.get(TRIAL, "")
            if name in self._found:
                self._client.delete_run(run.info.run_id)
            else:
                self._found[name] = run
        parent_tags = {**self._tags, **tags}
        self._images = image_sets(study_run.study)
        parent = self._found.pop("", None)
        if parent is None:
            began, name = round(1000 * study_run.study["time"]), study_run.study["name"]
            parent = self._client.create_run(self._experiment_id, began, parent_tags, run_name=name)
        elif parent.info.status != "RUNNING":
            self._client.update_run(parent.info.run_id, status="RUNNING")
        self._log_images(parent)
        params = study_params(study_run.study["space"])
        missing = {key: value for key, value in params.items() if key not in parent.data.params}
        self._log(parent.info.run_id, tags=parent_tags, params=missing)
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
            tags = {**self._tags, **short_labels(params), TRIAL: trial.name}
            tags |= {"mlflow.parentRunId": str(self.parent), **trial.tags}
            began, name = trial.added_ms, run_name(trial.name, trial.point)
            run = self._client.create_run(self._experiment_id, began, tags, run_name=name)
        trial.run_id = run.info.run_id
        if trial.state is not None and run.data.tags.get("state") == trial.state:
            if run.info.status != "RUNNING":
                trial.complete, trial.reports = True, {}
                return
        elif run.info.status != "RUNNING":
            self._client.update_run(trial.run_id, status="RUNNING")
        self._log_images(run)
        missing = {key: value for key, value in params.items() if key not in run.data.params}
        self._log(trial.run_id, params=missing)

    def send(self, trial: TrialRun, outcome: Sequence[MetricPoint] = ()) -> None:
        """Send what a trial's run lacks, the end last: a run that holds the end lacks nothing.

        Args:
            trial: a trial with a `run_id`.
            outcome: its `outcome`, sent with its end.
        """
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
            ended = {"state": trial.state, **reason, **trial.tags}
            self._log(trial.run_id, points=outcome, tags=ended)
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
        tags = caveat_tag(chosen.get("caveat"))
        points = summary_points(summary, summary_keys, study_run.last_ms)
        self._log(self.parent, points=points, tags=tags)
        self._mark(study_run, summary)
        self._note(study_run, folder, summary)
        status = (
            "KILLED" if not study_run.finished else "FAILED" if study_run.failed else "FINISHED"
        )
        self._client.set_terminated(self.parent, status, study_run.last_ms)
        self._upload(self.parent, folder, STUDY_FILES)
        for name, trial in study_run.shown(summary):
            pictures = {kind: snapshots_of(folder, name, kind) for kind in KINDS}
            whose = f"{study_run.identity}/{name}"
            log_images(self._client, str(trial.run_id), pictures, trial.added_ms, whose)
        for run_id, kept in study_run.students(summary):
            self._upload(run_id, folder / kept, BEST_FILES)
            if kept == BEST and study_run.finished and (folder / BEST / GRAPH).is_file():
                graph, tags = folder / BEST / GRAPH, {_IDENTITY: study_run.identity}
                log_student(self._client, self._experiment_id, run_id, graph, tags)

    def show(self, study_run: StudyRun, objective: str) -> str | None:
        """Keep a view of the study in the experiment; return its address, None without one.

        Args:
            study_run: the study.
            objective: key of the metric whose curves it shows.
        """
        assert study_run.study is not None
        name, created = str(study_run.study["name"]), round(1000 * study_run.study["time"])
        gains = study_run.bicubic(objective) is not None
        state = view_state(name, study_run.searched, objective, gains=gains, created_ms=created)
        self._client.set_experiment_tag(self._experiment_id, view_tag(name), state)
        self._view = view_link(self._store, self._experiment_id, name)
        return self._view

    def _mark(self, study_run: StudyRun, summary: Mapping[str, Any]) -> None:
        """Tag the runs of the best trial and of the first point, and no others any more."""
        for role in ("best", "first"):
            name = (summary.get(role) or {}).get("trial")
            chosen = study_run.trials[name].run_id if name in study_run.trials else None
            for run in self._search(f"{self._of_study} AND tags.`{role}` = 'true'"):
                if run.info.run_id != chosen:
                    self._client.delete_tag(run.info.run_id, role)
            if chosen is not None:
                self._client.set_tag(chosen, role, "true")

    def _note(self, study_run: StudyRun, folder: Path, summary: Mapping[str, Any]) -> None:
        """Write the notes of the study's run and, unless a person wrote it, of the experiment."""
        assert study_run.study is not None and self.parent is not None
        study, line = str(study_run.study["name"]), verdict_line(summary)
        note = study_note(study, str(folder), summary, self._view)
        self._client.set_tag(self.parent, _NOTE, note)
        title = f"[{study}]({self._view})" if self._view else study
        told = f"{title}: {line or 'no trial has a score'}"
        self._client.set_experiment_tag(self._experiment_id, f"{_LINE}{study}", told)
        tags = self._client.get_experiment(self._experiment_id).tags
        lines = {key[len(_LINE) :]: value for key, value in tags.items() if key.startswith(_LINE)}
        if tags.get(_NOTE, EXPERIMENT_END).endswith(EXPERIMENT_END):
            self._client.set_experiment_tag(self._experiment_id, _NOTE, experiment_note(lines))

    def _log_images(self, run: Any) -> None:
        """Record the images that a run reads, unless it has that."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(each.name, each.digest, "local", each.source, profile=each.profile),
                [InputTag("mlflow.data.context", each.context)],
            )
            for each in self._images
        ]
        if inputs and not (run.inputs and run.inputs.dataset_inputs):
            self._client.log_inputs(run.info.run_id, datasets=inputs)

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

        logged = [Param(key, cut(value)) for key, value in (params or {}).items()]
        for start in range(0, len(logged), _PARAMS):
            self._client.log_batch(run_id, params=logged[start : start + _PARAMS])
        self._client.log_batch(
            run_id,
            metrics=[Metric(*point) for point in points],
            tags=[RunTag(key, cut(value)) for key, value in (tags or {}).items()],
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
