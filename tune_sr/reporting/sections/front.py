"""The Pareto front of a study with two objectives."""

from __future__ import annotations

from tune_sr.reporting.markup import joined
from tune_sr.reporting.plots import front as front_plot
from tune_sr.reporting.plots import hypervolume as hypervolume_plot
from tune_sr.reporting.plots.style import as_text
from tune_sr.reporting.section import Section, plot
from tune_sr.reporting.study_data import StudyData
from tune_sr.reporting.table import Column, Table, lead


def section(data: StudyData) -> Section | None:
    """The plot and the table of the front; None with one objective."""
    if data.results.cost is None:
        return None
    title = f"What does quality cost in {data.results.cost}?"
    figure = front_plot.figure(data)
    if figure is None:
        return Section("front", "front", title, lead("No trial has a score yet."))
    front = front_plot.front_of(data)
    columns = [Column("trial"), Column("score, dB", 2), Column(data.results.cost),
               *(Column(data.short[each.path]) for each in data.dimensions)]  # fmt: skip
    rows = [
        [t.name, t.score, t.cost,
         *("" if (v := t.point.get(d.path)) is None else as_text(v) for d in data.dimensions)]
        for t in front
    ]  # fmt: skip
    table = Table("front", columns, rows, [trial.name for trial in front])
    volume = hypervolume_plot.volume([(t.score or 0.0, t.cost or 0.0) for t in front], data)
    said = "No trial of the line is beaten in quality at its cost; cheapest first."
    if volume is not None:
        said += f" Hypervolume over bicubic, up to the dearest trial: {volume:.3g} dB x cost."
    figures, places = {"front": figure}, [plot("front", "quality against cost")]
    over = hypervolume_plot.figure(data)
    if over is not None:
        figures["hypervolume"] = over
        places.append(plot("hypervolume", "hypervolume over student updates"))
    body = joined(lead(said), *places, table.to_html())
    return Section("front", "front", title, body, figures, (table,),
                   {"hypervolume": volume})  # fmt: skip
