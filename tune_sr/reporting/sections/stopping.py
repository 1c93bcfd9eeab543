"""Did stopping cost anything? What rungs tell of the end, what was saved, close calls."""

from __future__ import annotations

import json

from tune_sr.reporting.markup import Markup, joined, tag
from tune_sr.reporting.plots import rungs as rungs_plot
from tune_sr.reporting.section import Section, plot
from tune_sr.reporting.study_data import StudyData, Trial
from tune_sr.reporting.table import Column, Table, lead, note
from tune_sr.statistics.curves import rung_correlation

_TITLE = "Did stopping cost anything?"


def section(data: StudyData) -> Section:
    """Correlations of the rungs, updates saved, and the trials that missed a rung by little."""
    stopped = [trial for trial in data.trials if trial.state == "stopped"]
    if not data.rungs:
        name = data.results.settings.scheduler.name
        return _empty(f"The scheduler, {name}, stops no trial.")
    if not stopped:
        return _empty("No trial has been stopped.")
    budget = data.results.space.budget.steps
    whole = budget * sum(trial.state in ("completed", "stopped") for trial in data.trials)
    done = sum(t.last_step for t in data.trials if t.state in ("completed", "stopped"))
    saved = (
        f"{whole - done:,} of {whole:,} student updates saved ({100 * (1 - done / whole):.0f} %)."
    )
    parts: list[Markup] = [note(saved)]
    tables = []
    if (told := _rungs_table(data)) is not None:
        tables.append(told)
        parts += [lead("Spearman's correlation of a rung's values with the end, among the trials "
                       "that went on to it. They are the better part, so it is a low estimate."),
                  told.to_html()]  # fmt: skip
    figure = rungs_plot.figure(data)
    if figure is not None:
        parts.append(plot("rungs", "values at the first rung against the end"))
    tables.append(_close_calls(data, stopped))
    parts.append(tag("h3", "Close calls"))
    if tables[-1].rows:
        said = "Stopped within one wobble of the threshold; the command trains one to its end."
        parts += [lead(said), tables[-1].to_html()]
    else:
        parts.append(lead("None was stopped within one wobble of its threshold."))
    return Section("stopping", "stopping", _TITLE, joined(*parts),
                   {} if figure is None else {"rungs": figure}, tables,
                   {"updates": done, "updates_without_stopping": whole})  # fmt: skip


def _empty(said: str) -> Section:
    return Section("stopping", "stopping", _TITLE, lead(said))


def _rungs_table(data: StudyData) -> Table | None:
    done = rungs_plot.finishers(data)
    if len(done) < 3:
        return None
    late = [trial.best_until(trial.last_step) for trial in done]
    found = [
        rung_correlation(step, [trial.best_until(step) for trial in done], late)
        for step in data.rungs
    ]
    columns = [Column("rung"), Column("trials"), Column("rho", 2), Column("low", 2),
               Column("high", 2)]  # fmt: skip
    return Table("rungs", columns, found)


def _close_calls(data: StudyData, stopped: list[Trial]) -> Table:
    columns = [Column("trial"), Column("at"), Column("value, dB", 2), Column("missed by", 3),
               Column("rank"), Column("continue it")]  # fmt: skip
    rows = []
    for trial in stopped:
        judged = trial.judged.get(trial.last_step)
        if judged is None or data.wobble is None:
            continue
        missed = judged.needed - judged.value
        if 0 <= missed <= data.wobble:
            rank = f"{judged.rank} of {judged.of}"
            rows.append((trial.name, trial.last_step, judged.value, missed, rank,
                         continue_command(data, trial)))  # fmt: skip
    return Table("close-calls", columns, rows, [str(row[0]) for row in rows])


def continue_command(data: StudyData, trial: Trial) -> str:
    """The command that trains one trial's point to the end of its budget."""
    sets = " ".join(
        f"--set {path}={value if isinstance(value, str) else json.dumps(value)}"
        for path, value in trial.point.items()
    )
    return f"python -m tune_sr.train --space {data.results.folder / 'space.yaml'} {sets}"
