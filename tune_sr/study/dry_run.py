"""What a study would try and cost, told without starting anything: `--dry-run`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.checkpoint_size import largest_checkpoint
from trainables.config import TrialConfig
from trainables.values import derive_seed
from tune_sr.ledger.events import TrialAdded, TrialReported
from tune_sr.ledger.history import History, TrialRecord, trial_name
from tune_sr.objectives.objective import Objective
from tune_sr.schedulers.decide import Decider
from tune_sr.schedulers.pbt import exploit_steps
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.schedulers.rungs import bracket_shares, rungs
from tune_sr.searchers.propose import propose
from tune_sr.space.search_space import SearchSpace
from tune_sr.storage.disk import free_bytes, megabytes

SAMPLES = 4
"""Configurations that are shown; with no trial ended yet, they are those the study will try."""

_SIMULATED = 20_000
"""Reports of the simulated trials together; of a larger study a part is simulated."""

_KEPT = 3
"""Checkpoints kept of each trial: the latest two and the best; of `pbt` what may be copied too."""


def dry_run_text(space: SearchSpace, concurrent: int) -> str:
    """The study resolved, its first configurations, its rungs and the work to expect.

    Args:
        space: with the command line's flags in its `study` (see `with_flags`).
        concurrent: trials at a time.
    """
    study = space.study
    scheduler = SchedulerConfig.model_validate(study["scheduler"])
    points = _first_points(space, min(SAMPLES, study["trials"]))
    shown = [
        f"  {trial_name(number)}  "
        + "  ".join(f"{path}={_short(value)}" for path, value in point.items())
        for number, point in enumerate(points)
    ]
    parts = {
        "the study, resolved": space.to_yaml().rstrip().splitlines(),
        "its first configurations": shown,
        f"the scheduler, {scheduler.name}": _rungs_shown(scheduler, space),
        "the work to expect": _work_shown(
            space, scheduler, concurrent, [space.trial_config(p) for p in points]
        ),
    }
    return "\n\n".join("\n".join([f"# {title}", *lines]) for title, lines in parts.items())


@dataclass(frozen=True)
class Simulated:
    """How a scheduler would deal with toy trials."""

    student_steps: int
    completed: int
    stopped: int


def simulate(
    space: SearchSpace, scheduler: SchedulerConfig, trials: int, concurrent: int, seed: int
) -> Simulated:
    """The scheduler at work on toy curves that level off, each at its own height and pace.

    The decisions are `decide`'s own; only the curves are invented, from `seed` alone.
    """
    history, objective = History(), Objective.parse(space.study["objective"])
    judge = Decider(scheduler, space.budget, history, objective, seed)
    running: list[TrialRecord] = []
    added = 0
    while running or added < trials:
        while len(running) < concurrent and added < trials:
            name = trial_name(added)
            history.apply(TrialAdded(trial=name, number=added, point={}).to_dict(time=0.0))
            running.append(history.trials[name])
            added += 1
        for record in running:
            step = (len(record.reports) + 1) * space.budget.steps_per_report
            report = {objective.value: _curve(seed, record.name, step / space.budget.steps)}
            if objective.cost is not None:
                report[objective.cost] = _share(seed, record.name, "cost")
            decision = judge.decide(record.name, step, report)
            name = record.name
            event = TrialReported(trial=name, step=step, report=report, decision=decision)
            history.apply(event.to_dict(time=0.0))
        running = [record for record in running if record.state is None]
    records = history.trials.values()
    return Simulated(
        student_steps=sum(max(record.reports) for record in records),
        completed=sum(record.state == "completed" for record in records),
        stopped=sum(record.state == "stopped" for record in records),
    )


def _first_points(space: SearchSpace, count: int) -> list[dict[str, Any]]:
    """What a study tries before any trial has ended."""
    history, study = History(), space.study
    objective = Objective.parse(study["objective"])
    for number in range(count):
        point = propose(study["searcher"], space, study["seed"], history, number, objective)
        added = TrialAdded(trial=trial_name(number), number=number, point=point)
        history.apply(added.to_dict(time=0.0))
    return [dict(record.point) for record in history.trials.values()]


def _curve(seed: int, trial: str, share: float) -> float:
    """What a toy trial reports when a `share` of its budget is spent: it levels off."""
    height, pace = (_share(seed, trial, what) for what in ("height", "pace"))
    return height * (1 - math.exp(-(1 + 4 * pace) * share))


def _share(seed: int, trial: str, what: str) -> float:
    """A toy trial's own number, from 0 to 1."""
    return derive_seed(seed, "plan", trial, what) / 2**63


def _rungs_shown(scheduler: SchedulerConfig, space: SearchSpace) -> list[str]:
    budget = space.budget
    if not rungs(scheduler, budget):
        return [f"  every trial makes all {budget.reports} reports; nothing is stopped early"]
    shares = bracket_shares(scheduler, budget)
    lines = []
    for bracket, share in enumerate(shares):
        if len(shares) > 1:
            lines.append(f"  of about {share:.0%} of the trials, drawn by number and seed:")
        lines += _bracket_shown(scheduler, space, bracket)
    return lines


def _bracket_shown(scheduler: SchedulerConfig, space: SearchSpace, bracket: int) -> list[str]:
    """Line by line where a bracket's trials are judged; one line where that is at every report."""
    every = space.budget.steps_per_report
    says = SCHEDULERS[scheduler.name].says.format(**scheduler.model_dump())
    steps = rungs(scheduler, space.budget, bracket)
    if not steps:
        return ["  nothing is stopped early"]
    named = [f"after update {s:,} (report {s // every} of {space.budget.reports})" for s in steps]
    if len(steps) > 1 and steps[-1] - steps[0] == every * (len(steps) - 1):
        return [f"  {named[0]}, and after every later one, {says}"]
    return [f"  {each} {says}" for each in named]


def _work_shown(
    space: SearchSpace, scheduler: SchedulerConfig, concurrent: int, configs: list[TrialConfig]
) -> list[str]:
    study = space.study
    trials, seed = study["trials"], study["seed"]
    few = min(trials, max(1, _SIMULATED // space.budget.reports))
    expected = simulate(space, scheduler, few, concurrent, seed)
    completed, steps = (
        round(count * trials / few) for count in (expected.completed, expected.student_steps)
    )
    most = trials * space.budget.steps
    each = largest_checkpoint(configs)
    kept = _KEPT + len(exploit_steps(scheduler, space.budget))
    return [
        f"  {trials} trials, {concurrent} at a time, of {space.budget.steps:,} student updates",
        f"  student updates: about {steps:,} of at most {most:,} "
        f"({completed} trials completed, {trials - completed} stopped, on simulated curves)",
        f"  checkpoints: at most {megabytes(trials * kept * each)} "
        f"({kept} a trial, each about {megabytes(each)})",
        f"  free in {study['storage']}: {megabytes(free_bytes(Path(study['storage'])))}",
    ]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
