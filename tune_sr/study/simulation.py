"""Runs a study's scheduler, and its searcher, on given learning curves in place of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tune_sr.ledger.events import TrialAdded, TrialReported
from tune_sr.ledger.history import History, TrialRecord, trial_name
from tune_sr.schedulers.decide import Decider

if TYPE_CHECKING:
    from trainables.config import BudgetConfig
    from tune_sr.study.settings import StudySettings


def simulate(
    settings: StudySettings,
    budget: BudgetConfig,
    trials: int,
    concurrent: int,
    report_of: Callable[[TrialRecord, int], Mapping[str, float]],
    point_of: Callable[[History, int], Mapping[str, Any]] = lambda history, number: {},
) -> History:
    """Run `trials` trials, `concurrent` at a time, and return what their ledger would add up to.

    A report takes one unit of time, the same for all trials; it is the time of its event.

    Args:
        settings: the study's, of which scheduler, objective and seed are used.
        budget: the number of updates of a trial, and between two reports.
        trials: how many are added.
        concurrent: how many run at a time, at least 1.
        report_of: the report of a trial at a step.
        point_of: the point of the trial of a number, proposed from the trials before.
    """
    history = History()
    decider = Decider(settings.scheduler, budget, history, settings.objective, settings.seed)
    running: list[TrialRecord] = []
    added, time = 0, 0.0
    while running or added < trials:
        while len(running) < concurrent and added < trials:
            name, point = trial_name(added), point_of(history, added)
            history.apply(TrialAdded(trial=name, number=added, point=point).to_dict(time))
            running.append(history.trials[name])
            added += 1
        time += 1.0
        for record in running:
            step = (len(record.reports) + 1) * budget.steps_per_report
            report = report_of(record, step)
            decision = decider.decide(record.name, step, report)
            event = TrialReported(trial=record.name, step=step, report=report, decision=decision)
            history.apply(event.to_dict(time))
        running = [record for record in running if record.state is None]
    return history
