"""What a tracking server should hold of a study: a fold of its ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from tune_sr.ledger.events import Event, State
from tune_sr.storage.layout import SUMMARY

_ENDED_BY: Mapping[str, State] = {"stop": "stopped", "complete": "completed"}


class MetricPoint(NamedTuple):
    """One value of one curve."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass
class TrialRun:
    """One trial's run, as it should be."""

    name: str
    point: Mapping[str, Any]
    added_ms: int
    reports: dict[int, tuple[MetricPoint, ...]] = field(default_factory=dict)
    """By student step, in order of arrival; the first report of a step counts."""
    state: State | None = None
    reason: str | None = None
    ended_ms: int = 0
    micro_batch: int | None = None
    """Images that pass through a network at a time since it ran out of memory; None: all."""
    caveat: str | None = None
    """What must be known to hold its result against the paper's; None if nothing."""
    sent: int = 0
    """How many of `reports` the server has taken."""
    run_id: str | None = None
    """None until the run has been found or made."""
    clones: list[str] = field(default_factory=list)
    """What it went on as a copy of, in words, the last one first."""
    now: Mapping[str, Any] | None = None
    """What it is since then: parameters of a run cannot change."""
    complete: bool = False
    """Whether the server has taken everything, the end included."""
    reopened: bool = False
    """Whether its run may hold the end of an earlier attempt, which no longer counts."""

    @property
    def tags(self) -> dict[str, str]:
        """What is to be known beside its curves."""
        cloned = "; ".join(self.clones)
        said = {"caveat": self.caveat, "cloned": cloned, "micro_batch": self.micro_batch}
        return {key: str(value) for key, value in said.items() if value}

    def unsent(self, most: int) -> tuple[list[MetricPoint], int]:
        """Whole reports of together at most `most` points (at least one), and how many they are."""
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
    """A study's run and those of its trials, as they should be."""

    study: Event | None = None
    """The event `study_started`."""
    trials: dict[str, TrialRun] = field(default_factory=dict)
    finished: bool | None = None
    """What the last `study_ended` says; None while a driver works on the study."""
    last_ms: int = 0
    """Time of the last event."""

    def apply(self, event: Event) -> None:
        """Take one more event into account."""
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
        """Believe no longer that the server holds what it took of trials that are not settled."""
        for trial in self.unsettled():
            trial.run_id, trial.sent = None, 0

    def unsettled(self) -> Iterator[TrialRun]:
        """The trials whose runs are still to be brought up to date."""
        return (trial for trial in list(self.trials.values()) if not trial.complete)

    @property
    def identity(self) -> str:
        """Tells this study from another one of its name; stays with its ledger wherever it goes."""
        assert self.study is not None
        given = self.study.get("id")
        line = json.dumps(self.study, sort_keys=True)
        return str(given) if given else hashlib.sha256(line.encode()).hexdigest()[:32]

    def study_labels(self, words: Mapping[str, str]) -> dict[str, str]:
        """Those `short_labels` that hold for all trials: of what is not searched."""
        assert self.study is not None
        searched = {path.partition(".")[0] for path in self.study["space"].get("search", ())}
        if "method.name" not in self.study["space"].get("search", ()):
            searched.discard("method")  # its quantities may differ, its name does not
        return {part: text for part, text in words.items() if part not in searched}

    def students(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The runs of the trials whose students are kept, each with its folder in the study's."""
        kept = {each["trial"]: f"front/{each['trial']}" for each in summary.get("front", ())}
        kept |= {each["trial"]: "best" for each in [summary.get("best")] if each}
        for name, folder in kept.items():
            if name in self.trials and (run_id := self.trials[name].run_id) is not None:
                yield run_id, folder

    @property
    def failed(self) -> bool:
        """Whether there are trials and every one of them failed."""
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
    """Method, teacher and student of a flat configuration, in words short enough to compare.

    A network's size is what there is of groups, blocks and features.

    >>> short_labels({"method.name": "dfsr", "student.name": "vdsr", "student.blocks": 18,
    ...         "student.features": 32, "teacher.name": "vdsr", "teacher.weights": "shipped"})
    {'method': 'dfsr', 'teacher': 'vdsr shipped', 'student': 'vdsr 18x32'}
    >>> short_labels({"student.name": "rcan", "student.groups": 10, "student.blocks": 6,
    ...         "student.features": 64})
    {'student': 'rcan 10x6x64'}
    """
    words: dict[str, str] = {}
    if "method.name" in params:
        words["method"] = str(params["method.name"])
    for part in ("teacher", "student"):
        name, weights = (params.get(f"{part}.{key}") for key in ("name", "weights"))
        sizes = (params.get(f"{part}.{key}") for key in ("groups", "blocks", "features"))
        size = "x".join(str(number) for number in sizes if number)
        source = PurePath(str(weights)).stem if weights else ""
        if name:
            words[part] = " ".join(word for word in (str(name), size, source) if word)
    return words


def read_summary(folder: Path) -> dict[str, Any]:
    """A study's `summary.json`; empty where it has none yet."""
    path = folder / SUMMARY
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def summary_points(summary: Mapping[str, Any], timestamp_ms: int) -> list[MetricPoint]:
    """The study's own curves, over all student updates: they grow when a study is extended."""
    from trainables.values import QUALITIES  # with torch, which is not needed to read a ledger

    step = int(summary.get("student_steps") or 0)
    return [
        MetricPoint(f"{who}/{key}", float(summary[who][key]), timestamp_ms, step)
        for who in ("best", "first", "bicubic", "teacher")
        for key in (*QUALITIES, "ssim")
        if (summary.get(who) or {}).get(key) is not None
    ]
