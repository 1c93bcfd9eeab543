"""The MLflow runs that a study should have, folded from its ledger; no MLflow here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from tune_sr.ledger.events import Event, State
from tune_sr.storage.layout import SUMMARY

_ENDED_BY: Mapping[str, State] = {"stop": "stopped", "complete": "completed"}


class MetricPoint(NamedTuple):
    """One value of one metric of a run."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass
class TrialRun:
    """The run that MLflow should hold of one trial, and how much of it has been sent."""

    name: str
    point: Mapping[str, Any]
    added_ms: int
    reports: dict[int, tuple[MetricPoint, ...]] = field(default_factory=dict)
    """Metrics of each student step, in order of arrival; of two reports of a step the first."""
    state: State | None = None
    reason: str | None = None
    ended_ms: int = 0
    micro_batch: int | None = None
    """Images that pass through a network at once since memory ran out; None: the whole batch."""
    caveat: str | None = None
    """Why its result is not comparable with the paper's; None if it is."""
    sent: int = 0
    """How many of `reports` MLflow has taken."""
    run_id: str | None = None
    """The run's id in MLflow; None until it has been found or created."""
    clones: list[str] = field(default_factory=list)
    """Trials it continued as a copy of, as `from TRIAL at step STEP`, newest first."""
    now: Mapping[str, Any] | None = None
    """Its point since the newest copy; sent as metrics, since a run's parameters cannot change."""
    complete: bool = False
    """Whether MLflow has taken everything, the end included; `reports` is empty then."""
    reopened: bool = False
    """Whether the run may hold the end of an attempt before a retry, to be removed from it."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags `caveat`, `cloned` and `micro_batch`, those that it has."""
        cloned = "; ".join(self.clones)
        tags = {"caveat": self.caveat, "cloned": cloned, "micro_batch": self.micro_batch}
        return {key: str(value) for key, value in tags.items() if value}

    def unsent(self, most: int) -> tuple[list[MetricPoint], int]:
        """The next metrics to send, in whole reports.

        Args:
            most: how many metrics at most; a single report of more is returned whole.

        Returns:
            The metrics, and how many reports they are: none where all has been sent.
        """
        points: list[MetricPoint] = []
        taken = 0
        for report in list(self.reports.values())[self.sent :]:
            if points and len(points) + len(report) > most:
                break
            points += report
            taken += 1
        return points, taken


@dataclass
class StudyRun:
    """The runs that MLflow should hold of one study: the parent run and one for each trial."""

    study: Event | None = None
    """The event `study_started`; None before it has been read."""
    trials: dict[str, TrialRun] = field(default_factory=dict)
    finished: bool | None = None
    """`finished` of the last `study_ended`; None while a driver works on the study."""
    last_ms: int = 0
    """Time of the last event, in ms since 1970."""

    def apply(self, event: Event) -> None:
        """Take the ledger's next event into account."""
        self.last_ms = round(1000 * event["time"])
        kind = event["event"]
        if kind == "study_started":
            self.study = event
        elif kind == "driver_started":
            self.finished = None
        elif kind == "study_ended":
            self.finished = bool(event["finished"])
        elif kind == "trial_added":
            trial = TrialRun(event["trial"], event["point"], self.last_ms)
            trial.caveat = event.get("caveat")
            self.trials.setdefault(trial.name, trial)
        elif kind == "attempt":
            trial = self.trials[event["trial"]]
            trial.micro_batch = event.get("micro_batch", trial.micro_batch)
        elif kind == "reported":
            self._reported(self.trials[event["trial"]], event)
        elif kind == "cloned":
            trial = self.trials[event["trial"]]
            trial.clones.insert(0, f"from {event['from']} at step {event['step']}")
            trial.now, trial.caveat = event["point"], event["caveat"]
        elif kind == "retried":
            trial = self.trials[event["trial"]]
            trial.state = trial.reason = None
            trial.sent = 0 if trial.complete else trial.sent
            trial.complete, trial.reopened = False, True
        elif kind == "trial_ended":
            self._end(self.trials[event["trial"]], event["state"], event.get("reason"))

    def forget(self) -> None:
        """Assume that MLflow holds nothing of the trials that are not complete."""
        for trial in self.unsettled():
            trial.run_id, trial.sent = None, 0

    def unsettled(self) -> Iterator[TrialRun]:
        """The trials of whose runs MLflow may lack something."""
        return (trial for trial in list(self.trials.values()) if not trial.complete)

    @property
    def identity(self) -> str:
        """The study's id: from `study_started`, or its hash in ledgers of earlier versions."""
        assert self.study is not None
        given = self.study.get("id")
        line = json.dumps(self.study, sort_keys=True)
        return str(given) if given else hashlib.sha256(line.encode()).hexdigest()[:32]

    def study_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that hold for every trial of the study.

        Args:
            labels: `short_labels` of one configuration of the space.

        Returns:
            Those of them to which no searched dimension contributes.
        """
        assert self.study is not None
        searched = {path.partition(".")[0] for path in self.study["space"].get("search", ())}
        if "method.name" not in self.study["space"].get("search", ()):
            searched.discard("method")  # its quantities may differ, its name does not
        return {part: text for part, text in labels.items() if part not in searched}

    def students(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the trials whose students are kept: run id, and folder within the study's folder.

        Args:
            summary: the study's `summary.json`.
        """
        kept = {each["trial"]: f"front/{each['trial']}" for each in summary.get("front", ())}
        kept |= {each["trial"]: "best" for each in [summary.get("best")] if each}
        for name, folder in kept.items():
            if name in self.trials and (run_id := self.trials[name].run_id) is not None:
                yield run_id, folder

    @property
    def failed(self) -> bool:
        """Whether the study has trials and every one of them failed."""
        states = {trial.state for trial in self.trials.values()}
        return states == {"failed"}

    def _reported(self, trial: TrialRun, event: Event) -> None:
        step = event["step"]
        if step not in trial.reports and not trial.complete:
            point = {f"point/{path}": value for path, value in (trial.now or {}).items()}
            floats = {key: value for key, value in point.items() if isinstance(value, float)}
            trial.reports[step] = tuple(
                MetricPoint(key, float(value), self.last_ms, step)
                for key, value in {**event["report"], **floats}.items()
                if key != "step" and isinstance(value, int | float)  # null was not finite
            )
        if trial.state is None and event["decision"] in _ENDED_BY:
            self._end(trial, _ENDED_BY[event["decision"]], None)

    def _end(self, trial: TrialRun, state: State, reason: str | None) -> None:
        if (state, reason) == (trial.state, trial.reason):
            return  # already ended by its last decision
        trial.state, trial.reason, trial.ended_ms = state, reason, self.last_ms
        trial.complete = False


def short_labels(params: Mapping[str, Any]) -> dict[str, str]:
    """Method, teacher and student of a configuration, short enough to compare runs in a table.

    A network's size is groups x blocks x features, as many of these as it has.

    Args:
        params: a configuration, flat by dotted path; parts that it lacks are left out.

    >>> short_labels({"method.name": "dfsr", "student.name": "vdsr", "student.blocks": 18,
    ...         "student.features": 32, "teacher.name": "vdsr", "teacher.weights": "shipped"})
    {'method': 'dfsr', 'teacher': 'vdsr shipped', 'student': 'vdsr 18x32'}
    >>> short_labels({"student.name": "rcan", "student.groups": 10, "student.blocks": 6,
    ...         "student.features": 64})
    {'student': 'rcan 10x6x64'}
    """
    labels: dict[str, str] = {}
    if "method.name" in params:
        labels["method"] = str(params["method.name"])
    for part in ("teacher", "student"):
        name, weights = (params.get(f"{part}.{key}") for key in ("name", "weights"))
        sizes = (params.get(f"{part}.{key}") for key in ("groups", "blocks", "features"))
        size = "x".join(str(number) for number in sizes if number)
        source = PurePath(str(weights)).stem if weights else ""
        if name:
            labels[part] = " ".join(word for word in (str(name), size, source) if word)
    return labels


def read_summary(folder: Path) -> dict[str, Any]:
    """A study's `summary.json`; empty where it has none yet."""
    path = folder / SUMMARY
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def summary_points(
    summary: Mapping[str, Any], keys: Sequence[str], timestamp_ms: int
) -> list[MetricPoint]:
    """Metrics of the study's own run, over the updates of all students: extended studies add some.

    Args:
        summary: the study's `summary.json`.
        keys: which values of each result become a metric, called `best/<key>` and so on.
        timestamp_ms: time of the metrics, in ms since 1970.
    """
    step = int(summary.get("student_steps") or 0)
    return [
        MetricPoint(f"{who}/{key}", float(summary[who][key]), timestamp_ms, step)
        for who in ("best", "first", "bicubic", "teacher")
        for key in keys
        if (summary.get(who) or {}).get(key) is not None
    ]
