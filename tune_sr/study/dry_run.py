"""The text of `--dry-run`: the resolved study, its first configurations and its simulated cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.checkpoint_size import largest_checkpoint
from trainables.config import BudgetConfig
from trainables.values import derive_seed
from tune_sr.ledger.events import TrialAdded
from tune_sr.ledger.history import History, TrialRecord, trial_name
from tune_sr.schedulers.pbt import exploit_steps
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.schedulers.rungs import bracket_shares, rungs
from tune_sr.storage.disk import free_bytes, megabytes
from tune_sr.study.config import StudyConfig
from tune_sr.study.confirmation import most_repeats
from tune_sr.study.settings import StudySettings
from tune_sr.study.simulation import simulate

ReportOf = Callable[[TrialRecord, int], Mapping[str, float]]

SAMPLES = 4
"""Configurations that are shown; a study tries the same ones until a trial has ended."""

_SIMULATED = 20_000
"""Reports that are simulated at most; of a study with more, so many trials as make them."""

_QUICK = 2_000
"""The same where nobody asked for a plan: some tenths of a second."""

_KEPT = 3
"""Checkpoints kept of each trial: the latest two and the best; of `pbt`, exploit steps as well."""


def dry_run_text(config: StudyConfig, concurrent: int) -> str:
    """Describe a study with `concurrent` trials at a time, without starting anything."""
    space, scheduler = config.space, config.settings.scheduler
    points = _first_points(config, min(SAMPLES, config.settings.trials))
    shown = [
        f"  {trial_name(number)}  "
        + "  ".join(f"{path}={_short(value)}" for path, value in point.items())
        for number, point in enumerate(points)
    ]
    parts = {
        "the study, resolved": config.to_yaml().rstrip().splitlines(),
        "its first configurations": shown,
        f"the scheduler, {scheduler.name}": _rungs_shown(scheduler, space.budget),
        "the work to expect": _work_shown(config, concurrent, points),
    }
    return "\n\n".join("\n".join([f"# {title}", *lines]) for title, lines in parts.items())


def expected_updates(settings: StudySettings, budget: BudgetConfig, concurrent: int) -> float:
    """Student updates of a trial on average, on simulated curves, `concurrent` trials at a time."""
    few = min(settings.trials, max(1, _QUICK // budget.reports))
    trials = simulate(settings, budget, few, concurrent, _invented(settings, budget)).trials
    return sum(max(each.reports) for each in trials.values()) / few


def _first_points(config: StudyConfig, count: int) -> list[dict[str, Any]]:
    """The first points of a study, proposed while no trial has ended."""
    history = History()
    if config.taken is not None:
        history.apply(config.taken.to_dict(time=0.0))
    for number in range(count):
        point = config.propose(history, number)
        added = TrialAdded(trial=trial_name(number), number=number, point=point)
        history.apply(added.to_dict(time=0.0))
    return [dict(record.point) for record in history.trials.values()]


def _invented(settings: StudySettings, budget: BudgetConfig) -> ReportOf:
    """Learning curves that level off; height and pace derive from seed and trial."""
    objective = settings.objective

    def report(record: TrialRecord, step: int) -> dict[str, float]:
        drawn = {
            what: derive_seed(settings.seed, "plan", record.name, what) / 2**63
            for what in ("height", "pace", "cost")
        }
        spent = step / budget.steps
        value = drawn["height"] * (1 - math.exp(-(1 + 4 * drawn["pace"]) * spent))
        cost = {} if objective.cost is None else {objective.cost: drawn["cost"]}
        return {objective.value: value, **cost}

    return report


def _rungs_shown(scheduler: SchedulerConfig, budget: BudgetConfig) -> list[str]:
    if not rungs(scheduler, budget):
        return [f"  every trial makes all {budget.reports} reports; nothing is stopped early"]
    shares = bracket_shares(scheduler, budget)
    lines = []
    for bracket, share in enumerate(shares):
        if len(shares) > 1:
            lines.append(f"  of about {share:.0%} of the trials, drawn by number and seed:")
        lines += _bracket_shown(scheduler, budget, bracket)
    return lines


def _bracket_shown(scheduler: SchedulerConfig, budget: BudgetConfig, bracket: int) -> list[str]:
    """One line for each rung of a bracket; a single one where every report is a rung."""
    every = budget.steps_per_report
    description = SCHEDULERS[scheduler.name].description.format(**scheduler.model_dump())
    steps = rungs(scheduler, budget, bracket)
    if not steps:
        return ["  nothing is stopped early"]
    named = [f"after update {s:,} (report {s // every} of {budget.reports})" for s in steps]
    if len(steps) > 1 and steps[-1] - steps[0] == every * (len(steps) - 1):
        return [f"  {named[0]}, and after every later one, {description}"]
    return [f"  {each} {description}" for each in named]


def _work_shown(config: StudyConfig, concurrent: int, points: list[dict[str, Any]]) -> list[str]:
    settings, budget = config.settings, config.space.budget
    trials = settings.trials
    few = min(trials, max(1, _SIMULATED // budget.reports))
    expected = simulate(settings, budget, few, concurrent, _invented(settings, budget)).trials
    completed = round(sum(each.state == "completed" for each in expected.values()) * trials / few)
    steps = round(sum(max(each.reports) for each in expected.values()) * trials / few)
    most = trials * budget.steps
    each = largest_checkpoint([config.trial_config(point) for point in points])
    kept = _KEPT + len(exploit_steps(settings.scheduler, budget))
    repeats = most_repeats(config)
    raced = settings.confirm == "auto"
    ablated = ", and of it with one quantity set back" if settings.ablate else ""
    what = f"{settings.confirm} seeds of the first point and the best{ablated}"
    confirmation = [
        f"  confirmation: {'at most ' if ablated or raced else ''}{repeats} whole trials more, "
        f"{'a race of the first point and the best three' if raced else what}, "
        f"{repeats * budget.steps:,} updates"
    ]
    return [
        f"  {trials} trials, {concurrent} at a time, of {budget.steps:,} student updates",
        f"  student updates: about {steps:,} of at most {most:,} "
        f"({completed} trials completed, {trials - completed} stopped, on simulated curves)",
        *(confirmation if repeats else []),
        f"  checkpoints: at most {megabytes((trials + repeats) * kept * each)} "
        f"({kept} a trial, each about {megabytes(each)})",
        f"  free in {settings.storage}: {megabytes(free_bytes(Path(settings.storage)))}",
    ]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
