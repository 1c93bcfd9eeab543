"""How each trial went, what searching gained, and which trials there were."""

from __future__ import annotations

from tune_sr.cli.formatting import footnote_marks
from tune_sr.reporting.markup import joined, tag
from tune_sr.reporting.plots import best_so_far, learning_curves
from tune_sr.reporting.plots.style import GLYPHS, as_text
from tune_sr.reporting.section import Section, plot, switch
from tune_sr.reporting.study_data import StudyData, Trial
from tune_sr.reporting.table import Column, Table, lead


def curves_section(data: StudyData) -> Section:
    """The learning curves."""
    figure = learning_curves.figure(data)
    title = "How did each trial go, where was it stopped?"
    if figure is None:
        return Section("curves", "curves", title, lead("No trial has reported yet."))
    said = "A line a trial; dotted verticals are rungs, ✕ is where one was stopped. "
    below = learning_curves.count_below(data)
    said += f"{below} lie below the axis. " if below else ""
    running = sum(trial.state == "running" for trial in data.trials)
    said += f"{running} still run: their lines are open." if running else ""
    switches = [switch("curves", "x", {"updates": "student updates", "minutes": "minutes"})]
    if any(loss == loss for trial in data.trials for loss in trial.losses):
        switches.append(switch("curves", "y", {"db": "dB", "loss": "loss"}))
    body = joined(lead(said), tag("p", *switches, class_="switches"),
                  plot("curves", "learning curves of all trials"))  # fmt: skip
    numbers = [
        {
            "trial": t.name,
            "steps": list(t.steps),
            "values": [v if v == v else None for v in t.values],
        }
        for t in data.trials
    ]
    return Section("curves", "curves", title, body, {"curves": figure}, numbers={"trials": numbers})


def gain_section(data: StudyData) -> Section:
    """The best so far."""
    figure = best_so_far.figure(data)
    title = "What did searching gain, over what?"
    if figure is None:
        return Section("gain", "gain", title, lead("No trial has a finite report yet."))
    hours = "GPU hours" if data.gpus_per_trial else "hours of trials"
    choices = {"updates": "student updates", "minutes": "minutes", "hours": hours}
    said = "Where the line crosses the first point's final value, tuning began to pay."
    if data.first is None:
        said = "This space has no first point to hold it against."
    body = joined(lead(said), tag("p", switch("gain", "x", choices), class_="switches"),
                  plot("gain", "best value so far"))  # fmt: skip
    found = best_so_far.progress(data)
    numbers = {"values": found.values, "updates": found.updates, "minutes": found.minutes,
               "hours": found.hours}  # fmt: skip
    return Section("gain", "gain", title, body, {"gain": figure}, numbers=numbers)


def trials_table(data: StudyData) -> Table:
    """One row for each trial, the best first."""
    marks = footnote_marks(trial.caveat for trial in data.trials)
    bicubic = data.marks.get("bicubic")
    columns = [Column("trial"), Column("state"), Column("score, dB", 2),
               *([Column("gain", 2, signed=True)] if bicubic is not None else []),
               Column("last, dB", 2), Column("updates"),
               *([Column(data.results.cost)] if data.results.cost else []),
               *(Column(data.short[each.path]) for each in data.dimensions),
               Column("stopped or failed")]  # fmt: skip
    ordered = sorted(data.trials, key=lambda t: (t.score is None, -(t.score or 0.0), t.number))
    rows = []
    for trial in ordered:
        mark = marks.get(trial.caveat or "", "")
        gain = None if trial.score is None or bicubic is None else trial.score - bicubic
        rows.append([
            f"{trial.name}{mark}", f"{GLYPHS[trial.state]} {trial.state}", trial.score,
            *([gain] if bicubic is not None else []), trial.last, trial.last_step,
            *([trial.cost] if data.results.cost else []),
            *(_cell(trial.point.get(each.path)) for each in data.dimensions), stopped_text(trial),
        ])  # fmt: skip
    return Table("trials", columns, rows, [trial.name for trial in ordered])


def stopped_text(trial: Trial) -> str:
    """Where a trial was stopped, and by how much; a failed one's reason; else empty."""
    if trial.state == "failed":
        return trial.reason or "failed"
    judged = trial.judged.get(trial.last_step)
    if trial.state != "stopped":
        return ""
    return f"at {trial.last_step}" + (f": {judged}" if judged is not None else "")


def _cell(value: object) -> object:
    return (
        value
        if isinstance(value, int | float) and not isinstance(value, bool)
        else ("" if value is None else as_text(value))
    )


def trials_section(data: StudyData) -> Section:
    """The sortable table."""
    title = "Which trials were there?"
    if not data.trials:
        return Section("trials", "trials", title, lead("None yet."))
    table = trials_table(data)
    box = tag("input", type="search", id="filter", placeholder="filter: lr<0.1 P=2 stopped",
              aria_label="filter trials", spellcheck="false")  # fmt: skip
    marks = footnote_marks(trial.caveat for trial in data.trials)
    notes = [tag("p", f"{mark} {caveat}", class_="lead") for caveat, mark in marks.items()]
    said = "A click on a heading sorts; a click on a row marks the trial in every plot."
    body = joined(lead(said), tag("p", box), table.to_html(), *notes)
    return Section("trials", "trials", title, body, tables=(table,))
