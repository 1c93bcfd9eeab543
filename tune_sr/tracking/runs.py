"""The MLflow runs that a study should have, folded from its ledger; no MLflow here."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tune_sr.ledger.events import Event, State, TrialAdded
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.ledger.reports import Reported
from tune_sr.objectives.objective import QUALITY
from tune_sr.objectives.score import Scorer
from tune_sr.storage.layout import SUMMARY


class MetricPoint(NamedTuple):
    """One value of one metric of a run."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class TrialRun:
    """The run of one trial: what it should hold, and how much of that the server has taken."""

    def __init__(self, record: TrialRecord, scorer: Scorer | None = None) -> None:
        self._record, self._scorer = record, scorer
        self.name, self.added_ms = record.name, _milliseconds(record.added_at)
        self.point = record.point
        """The point it was added with: parameters of a run cannot change."""
        self.sent = 0
        """How many of `reports` the server has taken."""
        self.run_id: str | None = None
        """None until the run has been found or made."""
        self._taken: tuple[State | None, str | None, int] | None = None
        """The end that the server has taken."""
        self._reopened = 0
        """How many of the trial's retries the server has taken."""

    @property
    def ended_ms(self) -> int:
        """When the trial ended, in milliseconds since 1970; 0 while it runs."""
        return _milliseconds(self._record.ended_at or 0.0)

    @property
    def state(self) -> State | None:
        """How the trial ended; None while it runs."""
        return self._record.state

    @property
    def reason(self) -> str | None:
        """Why it ended, where there is a reason."""
        return self._record.reason

    @property
    def reports(self) -> Mapping[int, Reported]:
        """By student step, in order of arrival. Set to {}, they are forgotten."""
        return self._record.reports

    @reports.setter
    def reports(self, reports: Mapping[int, Reported]) -> None:
        self._record.reports, self.sent = reports, 0

    @property
    def complete(self) -> bool:
        """Whether the server has taken everything, the end that the trial now has included."""
        return self._taken == self._end

    @complete.setter
    def complete(self, complete: bool) -> None:
        self._taken = self._end if complete else None

    @property
    def reopened(self) -> bool:
        """Whether the run may hold the end of an earlier attempt, which no longer counts."""
        return self._reopened < self._record.retries

    @reopened.setter
    def reopened(self, reopened: bool) -> None:
        self._reopened = self._record.retries - reopened

    @property
    def _end(self) -> tuple[State | None, str | None, int]:
        return self._record.state, self._record.reason, self._record.retries

    @property
    def tags(self) -> dict[str, str]:
        """What is to be known beside its curves."""
        record = self._record
        copies = (f"from {each.source} at step {each.step}" for each in reversed(record.clones))
        tags = {
            "caveat": record.caveat,
            "cloned": "; ".join(copies),
            "micro_batch": record.micro_batch,
            "repeats": record.repeats,
        }
        if record.stopped_by is not None:
            step, judged = record.stopped_by
            tags |= {"stopped_at": step, "needed": f"{judged.needed:.6g}"}
        return {key: str(value) for key, value in tags.items() if value}

    def outcome(self, bicubic: float | None) -> list[MetricPoint]:
        """Single values of the run of a trial that has ended, by which runs sort as results do.

        They have no step, so that MLflow draws bars of them. Empty for a failed trial.

        Args:
            bicubic: bicubic's value of the objective, in dB; None where there is none.
        """
        score = None if self._scorer is None else self._scorer.score(self._record)
        if score is None:
            return []
        found = {"score_db": score.value, "score_step": float(score.step)}
        found |= {} if bicubic is None else {"gain_db": score.value - bicubic}
        ssim = score.report.get("ssim", math.nan)
        found |= {"ssim_at_score": ssim} if math.isfinite(ssim) else {}
        return [MetricPoint(key, value, self.ended_ms, 0) for key, value in found.items()]

    def unsent(self, most: int) -> tuple[list[MetricPoint], int]:
        """The next metrics to send, in whole reports.

        Args:
            most: how many metrics at most; a single report of more is returned whole.

        Returns:
            The metrics, and how many reports they are: none where all has been sent.
        """
        points: list[MetricPoint] = []
        taken = 0
        for step, reported in islice(self.reports.items(), self.sent, None):
            more = self._points(step, reported)
            if points and len(points) + len(more) > most:
                break
            points += more
            taken += 1
        return points, taken

    def _points(self, step: int, reported: Reported) -> list[MetricPoint]:
        """The finite figures of a report; of a copy also its searched numbers, which change."""
        record, figures = self._record, dict(reported.report)
        if record.clones and step > record.clones[0].step:
            point = record.point_at(step).items()
            figures |= {f"point/{path}": each for path, each in point if isinstance(each, float)}
        return [
            MetricPoint(key, float(value), _milliseconds(reported.time), step)
            for key, value in figures.items()
            if key != "step" and math.isfinite(value)
        ]


class StudyRun:
    """The run of a study and those of its trials.

    Args:
        scorer: the rule by which the study's trials are judged; None: no trial's score is sent.
    """

    def __init__(self, scorer: Scorer | None = None) -> None:
        self._history, self._scorer = History(), scorer
        self.trials: dict[str, TrialRun] = {}

    def apply(self, event: Event) -> None:
        """Take one more event into account."""
        self._history.apply(event)
        if event["event"] == TrialAdded.kind:
            added = self._history.record(event["trial"])
            self.trials.setdefault(added.name, TrialRun(added, self._scorer))

    @property
    def searched(self) -> list[str]:
        """Dotted paths of the searched quantities."""
        return list(((self.study or {}).get("space") or {}).get("search") or {})

    def bicubic(self, objective: str) -> float | None:
        """Bicubic's value of the objective, in dB; None where there are no photographs."""
        mark = ((self.study or {}).get("marks") or {}).get("bicubic") or {}
        value = mark.get(objective) if objective == QUALITY else None
        return None if value is None else float(value)

    @property
    def study(self) -> Mapping[str, Any] | None:
        """The event `study_started`; None before it."""
        return self._history.study

    @property
    def finished(self) -> bool:
        """Whether the last driver ended with nothing left to do."""
        return self._history.finished

    @property
    def last_ms(self) -> int:
        """Time of the last event, in milliseconds since 1970."""
        return _milliseconds(self._history.usage.last)

    def forget(self) -> None:
        """Look up again what the server holds of trials that are not complete."""
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

    def shown(self, summary: Mapping[str, Any]) -> Iterator[tuple[str, TrialRun]]:
        """Yield the trials whose pictures are sent: the best, the first point's and the front.

        Args:
            summary: the study's `summary.json`.
        """
        chosen = [summary.get("best"), summary.get("first"), *summary.get("front", ())]
        for name in dict.fromkeys(each["trial"] for each in chosen if each):
            if name in self.trials and self.trials[name].run_id is not None:
                yield name, self.trials[name]

    @property
    def failed(self) -> bool:
        """Whether the study has trials and every one of them failed."""
        states = {trial.state for trial in self.trials.values()}
        return states == {"failed"}


def _milliseconds(time: float) -> int:
    return round(1000 * time)


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
