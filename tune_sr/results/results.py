"""The results of a study, computed from its ledger: best trial, front, table and summary."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import ConfigError
from trainables.metrics.fidelity import protocol_for
from trainables.networks import NETWORKS
from trainables.values import QUALITIES, Report
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.ledger.ledger import read_events
from tune_sr.objectives.objective import AGREEMENT, QUALITY
from tune_sr.objectives.score import Score, Scorer
from tune_sr.results.confirmed import confirmed
from tune_sr.results.verdict import Gain, gain, wobble
from tune_sr.storage.disk import write_atomically
from tune_sr.storage.layout import SUMMARY, TABLE
from tune_sr.study.resume import load_stored_study

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace
    from tune_sr.study.settings import StudySettings

_CHANGE = "generator_change"
_SHORT = ("gain", "last", "seconds", "needed")
"""Columns of `results.csv` that are written in six digits."""


@dataclass(frozen=True)
class Results:
    """The results of a study so far, finished or not."""

    folder: Path
    space: SearchSpace
    settings: StudySettings
    history: History
    view: str | None = None
    """The address of its page in MLflow, where this process has sent it."""

    @classmethod
    def load(cls, folder: Path) -> Results:
        """The study in `folder`.

        Raises:
            ValueError: there is none.
        """
        events = read_events(folder)
        return cls(folder, *load_stored_study(folder, events), History.from_events(events))

    @property
    def objective(self) -> str:
        """The key of reports that is to be large."""
        return self.settings.objective.value

    @property
    def cost(self) -> str | None:
        """The key of reports that is to be small; None where there is none."""
        return self.settings.objective.cost

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The trials that none beats in quality at their cost, cheapest first.

        Of equal ones the earlier; a failed one never. Where cost is no objective, the best alone.
        """
        return self._scorer.front(self.history.trials.values())

    def scored(self) -> list[tuple[TrialRecord, Score]]:
        """Every trial that has a score, by number, with it."""
        return self._scorer.scored(self.history.trials.values())

    @cached_property
    def best(self) -> TrialRecord | None:
        """The trial with the best score, the dearest end of the front; a failed one never.

        Of equal ones the cheapest, where cost is an objective, then the earlier.
        """
        return self._scorer.best(self.history.trials.values())

    @property
    def first(self) -> TrialRecord | None:
        """The trial of the space's first point (the paper's setting); None without one."""
        return next(iter(self.history.trials.values()), None) if self.space.first_points else None

    @property
    def bicubic(self) -> float | None:
        """Bicubic's PSNR on the study's photographs; None where it has none."""
        bicubic = ((self.history.study or {}).get("marks") or {}).get("bicubic") or {}
        return bicubic.get(QUALITY) if self.objective == QUALITY else None

    def score(self, record: TrialRecord) -> Score | None:
        """A trial's best report after the student's last growth, or its best one before that.

        None for a failed trial, and for one without a finite report.
        """
        return self._scorer.score(record)

    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        records = self.history.trials.values()
        states = Counter(record.state for record in records)
        marks = (self.history.study or {}).get("marks") or {}
        return {
            "study": (self.history.study or {}).get("name", self.folder.name),
            "objective": self.settings.objective.to_yaml(),
            "protocol": self._protocol(),
            "trials": {
                "total": len(records),
                **{state: states[state] for state in ("completed", "stopped", "failed")},
            },
            "best": self._described(self.best),
            "first": self._described(self.first),
            **self._front_described(),
            "bicubic": _figures(marks.get("bicubic")),
            "teacher": _figures(marks.get("teacher")),
            **({} if self._confirmed is None else {"confirmed": self._confirmed}),
            **({} if self.gain is None else {"gain": self.gain.to_dict()}),
            "student_steps": sum(max(record.reports, default=0) for record in records),
            "seconds": round(self.history.usage.driver_seconds(), 1),
            "finished": self.history.finished,
        }

    @cached_property
    def gain(self) -> Gain | None:
        """What the best trial gained over the first point, and whether that is shown.

        None without a first point that has a score, and where it is the best trial itself.
        """
        best, first = self.best, self.first
        if best is None or first is None or best is first:
            return None
        ours, theirs = self.score(best), self.score(first)
        if ours is None or theirs is None:
            return None
        moves = wobble(self.history.trials.values(), self.objective)
        return gain(ours.value, theirs.value, moves, len(self.scored()), self._confirmed)

    @cached_property
    def _confirmed(self) -> dict[str, Any] | None:
        steps = self.space.budget.steps
        return confirmed(self.history, self._scorer, self.settings, self.first, steps)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `results.csv`: of each trial how it ended, its score, its quantities."""
        rows, unbeaten = [], {record.name for record in self.front}
        for record in sorted(self.history.trials.values(), key=lambda each: each.number):
            score = self.score(record)
            point = record.point_at(_when(score))
            rows.append(
                {
                    "trial": record.name,
                    "state": record.state or "running",
                    "reason": record.reason,
                    "caveat": record.caveat_at(_when(score)),
                    "attempts": record.attempts,
                    "micro_batch": record.micro_batch,
                    "steps": max(record.reports, default=0),
                    "step": score.step if score else None,
                    **self._figures(score),
                    **self._change(score),
                    **({"front": record.name in unbeaten} if self.cost else {}),
                    **{path: point.get(path) for path in self.space.dimensions},
                    **self._course(record, score),
                }
            )
        return rows

    def _course(self, record: TrialRecord, score: Score | None) -> dict[str, Any]:
        """The columns of how a trial went: what it gained, where it ran, what stopped it."""
        gained = score.value - self.bicubic if score and self.bicubic is not None else None
        last = record.reports[max(record.reports)] if record.reports else None
        stopped = record.stopped_by
        nodes = dict.fromkeys(place.node for place in record.places if place.node)
        return {
            **({} if self.bicubic is None else {"gain": gained}),
            "last": _finite(last.report.get(self.objective)) if last else None,
            "seconds": self.history.usage.trial_seconds(record.name),
            "node": " ".join(nodes) or None,
            "stopped_at": stopped[0] if stopped else None,
            "needed": _finite(stopped[1].needed) if stopped else None,
        }

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.settings.objective, self.space.trial_config)

    @cached_property
    def _figure_keys(self) -> list[str]:
        """`psnr_y_db` and `ssim`, then the same for each scale; or the teacher's agreement so."""
        known = self._reported_keys
        of_all = (self.objective, *(["ssim"] if self.objective == QUALITY else []))
        scaled = sorted(key for key in known if key.startswith(tuple(f"{key}_x" for key in of_all)))
        return [*of_all, *scaled, *self.settings.objective.costs]

    @cached_property
    def _reported_keys(self) -> set[str]:
        """Keys that any report has."""
        trials = self.history.trials.values()
        reports = (each.report for record in trials for each in record.reports.values())
        return {key for report in reports for key in report}

    def _change(self, score: Score | None) -> dict[str, float | None]:
        """The column of a study whose methods have generators: how far a trial's had moved."""
        if _CHANGE not in self._reported_keys:
            return {}
        return {_CHANGE: score.report.get(_CHANGE) if score else None}

    def _front_described(self) -> dict[str, Any]:
        """The key `front` of a study with two objectives."""
        if self.cost is None:
            return {}
        return {"front": [self._described(record) for record in self.front]}

    def _described(self, record: TrialRecord | None) -> dict[str, Any] | None:
        if record is None:
            return None
        score = self.score(record)
        return {
            "trial": record.name,
            "config": dict(record.point_at(_when(score))),
            **self._figures(score),
            "step": score.step if score else None,
            "caveat": record.caveat_at(_when(score)),
        }

    def _figures(self, score: Score | None) -> dict[str, float | None]:
        """A score's PSNR and SSIM; None where there is none, since JSON has no nan."""
        report = score.report if score else {}
        values = {key: report.get(key, math.nan) for key in self._figure_keys}
        return {key: value if math.isfinite(value) else None for key, value in values.items()}

    def _protocol(self) -> str | None:
        for record in self.history.trials.values():
            try:
                config = self.space.trial_config(record.point)
            except ConfigError:
                continue
            if config.heldout is None:
                return AGREEMENT
            return protocol_for(config.heldout.protocol, NETWORKS[config.student.name].colour)
        return None


def load_results(folder: Path | str) -> Results:
    """The results of the study in `folder`, finished or not.

    Raises:
        ValueError: there is none.
    """
    return Results.load(Path(folder))


def write_results(folder: Path) -> Results:
    """Write `summary.json` and `results.csv` of the study in `folder`, each atomically.

    Raises:
        ValueError: there is no study.
        OSError: they cannot be written.
    """
    results = Results.load(folder)
    write_atomically(folder / SUMMARY, json.dumps(results.summary(), indent=2) + "\n")
    text = io.StringIO()
    rows = results.rows()
    columns = list(rows[0]) if rows else ["trial"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, **{key: _digits(row[key]) for key in _SHORT if key in row}})
    write_atomically(folder / TABLE, text.getvalue())
    return results


def _when(score: Score | None) -> float:
    """The step of the report that a trial is judged by; infinite without one."""
    return score.step if score else math.inf


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _figures(mark: Report | None) -> Report | None:
    if mark is None:
        return None
    return {key: value for key, value in mark.items() if key.startswith((*QUALITIES, "ssim"))}
