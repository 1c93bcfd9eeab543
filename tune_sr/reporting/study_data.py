"""What a report shows of a study, as plain numbers: its trials, their curves and their ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainables.errors import ConfigError
from tune_sr.ledger.clock import StudyClock
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.ledger.ledger import read_events
from tune_sr.ledger.reports import Judged
from tune_sr.reporting.judged import judged_of
from tune_sr.reporting.spans import Span, spans_of
from tune_sr.results.results import Results
from tune_sr.results.verdict import wobble
from tune_sr.schedulers.rules import SCHEDULERS
from tune_sr.schedulers.rungs import rungs
from tune_sr.space.dimension import Dimension
from tune_sr.statistics.importance import Quantity, value_at
from tune_sr.storage.disk import read_object
from tune_sr.storage.layout import PROVENANCE
from tune_sr.study.resume import load_stored_study


@dataclass(frozen=True)
class Trial:
    """One trial of a study, as a report shows it."""

    name: str
    number: int
    state: str
    """completed, stopped, failed or running."""
    reason: str | None
    caveat: str | None
    attempts: int
    steps: Sequence[int]
    """Student updates of its reports, ascending."""
    values: Sequence[float]
    """The objective at each, in dB; nan where it was not finite."""
    losses: Sequence[float]
    """Its first loss at each; nan where there is none."""
    minutes: Sequence[float]
    """When each report was made, in minutes of the study's work."""
    changes: Sequence[float]
    """`generator_change` at each; nan where there is none."""
    score: float | None
    """In dB, by the study's rule; None for a failed trial, and for one without a report."""
    score_step: int | None
    ssim: float | None
    cost: float | None
    """What its student costs; None where cost is no objective."""
    point: Mapping[str, Any]
    """Dotted path to value, active quantities only."""
    growths: Sequence[int]
    """The updates at which its student grew."""
    judged: Mapping[int, Judged]
    """By rung: what the scheduler compared."""
    added: float
    """Minutes of the study's work when it was added."""
    is_front: bool = False

    @property
    def last(self) -> float | None:
        """The objective in its last report; None where it is not finite."""
        return self.values[-1] if self.values and math.isfinite(self.values[-1]) else None

    @property
    def last_step(self) -> int:
        """Student updates that it has reported; 0 before its first report."""
        return self.steps[-1] if self.steps else 0

    @property
    def change(self) -> float | None:
        """`generator_change` at the report it is judged by; None without one."""
        if self.score_step is None:
            return None
        found = self.changes[list(self.steps).index(self.score_step)]
        return found if math.isfinite(found) else None

    def best_until(self, step: int) -> float:
        """The best finite value up to `step`; -inf where there is none."""
        return value_at(self.steps, self.values, step)


@dataclass(frozen=True)
class StudyData:
    """A study as its report shows it."""

    results: Results
    events: Sequence[Event]

    @classmethod
    def load(cls, folder: Path) -> StudyData:
        """The study in `folder`, finished or not.

        Raises:
            ValueError: there is none.
        """
        events = read_events(folder)
        results = Results(folder, *load_stored_study(folder, events), History.from_events(events))
        return cls(results, events)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.summary["study"])

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        return self.results.summary()

    @cached_property
    def clock(self) -> StudyClock:
        """Minutes of the drivers' work."""
        return StudyClock(self.events)

    @property
    def objective(self) -> str:
        """The report key that is maximised."""
        return self.results.objective

    @property
    def gpus_per_trial(self) -> float:
        """GPUs of each trial; 0 where trials are placed by CPUs alone."""
        gpus = self.results.settings.gpus_per_trial
        return 0.0 if gpus == "auto" else gpus

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.results.history.finished

    @cached_property
    def marks(self) -> dict[str, float]:
        """The objective of `bicubic` and `teacher`, where they have one."""
        found = {name: (self.summary[name] or {}).get(self.objective) for name in _MARKS}
        return {name: value for name, value in found.items() if value is not None}

    @cached_property
    def dimensions(self) -> list[Dimension]:
        """The searched quantities, a conditional one after those it depends on."""
        return list(self.results.space.dimensions.values())

    @cached_property
    def short(self) -> dict[str, str]:
        """A short name of each quantity: the end of its path, as far as that tells them apart."""
        return short_names([each.path for each in self.dimensions])

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """The updates at which the scheduler may stop a trial; empty where it stops none."""
        scheduler = self.results.settings.scheduler
        if SCHEDULERS[scheduler.name].is_population_based:
            return ()
        return rungs(scheduler, self.results.space.budget)

    @cached_property
    def trials(self) -> list[Trial]:
        """Every trial, by number."""
        judged = judged_of(self.results, self.events)
        front = {record.name for record in self.results.front}
        records = sorted(self.results.history.trials.values(), key=lambda each: each.number)
        return [
            self._trial(each, judged.get(each.name, {}), each.name in front) for each in records
        ]

    @cached_property
    def by_name(self) -> dict[str, Trial]:
        """The trials by name."""
        return {trial.name: trial for trial in self.trials}

    @property
    def best(self) -> Trial | None:
        """The trial with the best score."""
        record = self.results.best
        return None if record is None else self.by_name[record.name]

    @property
    def first(self) -> Trial | None:
        """The trial of the space's first point; None without one."""
        record = self.results.first
        return None if record is None else self.by_name.get(record.name)

    @cached_property
    def wobble(self) -> float | None:
        """How far one curve moves between two reports, in dB; None without completed trials."""
        return wobble(self.results.history.trials.values(), self.results.objective)

    @cached_property
    def budget_compared(self) -> int | None:
        """The updates up to which trials are compared: the first rung, which all reached.

        Without rungs the last report that all trials made which did not fail. None before that.
        """
        alive = [trial.last_step for trial in self.trials if trial.state not in ("failed",)]
        if self.rungs and max(alive, default=0) >= self.rungs[0]:
            return self.rungs[0]
        ended = [t.last_step for t in self.trials if t.state in ("completed", "stopped")]
        return min(ended, default=0) or None

    def compared(self, budget: int | None = None) -> list[tuple[Trial, float]]:
        """The trials that reached a budget, or failed before, each with its best up to there."""
        at = self.budget_compared if budget is None else budget
        if at is None:
            return []
        return [
            (trial, trial.best_until(at) if trial.last_step >= at else -math.inf)
            for trial in self.trials
            if trial.last_step >= at or trial.state == "failed"
        ]

    def quantities(self, trials: Sequence[Trial]) -> list[Quantity]:
        """The searched quantities with their values in `trials`."""
        return [
            Quantity(each.path, [t.point.get(each.path) for t in trials],
                     each.distribution == "choice")
            for each in self.dimensions
        ]  # fmt: skip

    @cached_property
    def spans(self) -> list[Span]:
        """Who worked when."""
        return spans_of(self.events, self.clock)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The content of `study.json`; empty where it is missing or damaged."""
        return read_object(self.results.folder / PROVENANCE)

    def _trial(self, record: TrialRecord, judged: Mapping[int, Judged], front: bool) -> Trial:
        score = self.results.score(record)
        steps = sorted(record.reports)
        reports = [record.reports[step].report for step in steps]
        loss = next((key for key in (reports[0] if reports else {}) if key.startswith("loss/")), "")
        when = math.inf if score is None else score.step
        ssim = score.report.get("ssim") if score else None
        return Trial(
            name=record.name,
            number=record.number,
            state=record.state or "running",
            reason=record.reason,
            caveat=record.caveat_at(when),
            attempts=record.attempts,
            steps=steps,
            values=[report.get(self.objective, math.nan) for report in reports],
            losses=[report.get(loss, math.nan) for report in reports],
            changes=[report.get("generator_change", math.nan) for report in reports],
            minutes=[self.clock.minutes(record.reports[step].time) for step in steps],
            score=score.value if score else None,
            score_step=score.step if score else None,
            ssim=ssim if ssim is not None and math.isfinite(ssim) else None,
            cost=score.cost if score and self.results.cost else None,
            point=record.point_at(when),
            growths=self._growths(record),
            judged=judged,
            added=self.clock.minutes(record.added_at),
            is_front=front,
        )

    def _growths(self, record: TrialRecord) -> list[int]:
        try:
            config = self.results.space.trial_config(record.point_at(0))
        except ConfigError:
            return []
        return sorted(config.growth_steps())


_MARKS = ("bicubic", "teacher")


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The last word of each dotted path; where two share it, as many more as tell them apart.

    >>> short_names(["method.w_R", "optimiser.lr", "method.lr"])
    {'method.w_R': 'w_R', 'optimiser.lr': 'optimiser.lr', 'method.lr': 'method.lr'}
    """
    last = {path: path.rpartition(".")[2] for path in paths}
    names = list(last.values())
    return {path: name if names.count(name) == 1 else path for path, name in last.items()}
