"""Which setting mattered, and what belongs together: always at equal budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from tune_sr.reporting.markup import Markup, joined, tag
from tune_sr.reporting.plots import importance as importance_plot
from tune_sr.reporting.plots import parallel, slices
from tune_sr.reporting.plots.style import as_text
from tune_sr.reporting.section import Section, plot
from tune_sr.reporting.study_data import StudyData
from tune_sr.reporting.table import Column, Table, lead, note
from tune_sr.searchers.ped_anova import top_quantile, top_shares
from tune_sr.statistics.importance import FEWEST_TRIALS, Importances, importances


def importance_of(data: StudyData, update: int | None = None) -> Importances | None:
    """The importances at equal budget; None with fewer than 16 trials, or two quantities.

    Args:
        data: the study.
        update: the budget; None: the first rung.
    """
    compared = data.compared(update)
    if len(data.dimensions) < 2:
        return None
    trials = [trial for trial, _ in compared]
    seed = data.results.settings.seed
    return importances([value for _, value in compared], data.quantities(trials), seed % 2**32)


def settings_section(data: StudyData) -> Section:
    """Importance with its spread, or the sentence that it cannot be told; and the slices."""
    title = "Which setting mattered?"
    budget, compared = data.budget_compared, data.compared()
    if budget is None or not compared or not data.dimensions:
        said = "No two trials can be compared at one budget yet."
        return Section("settings", "settings", title, lead(said))
    found = importance_of(data)
    parts: list[Markup] = [lead(_budget_text(data, budget))]
    figures, tables = {}, []
    if found is not None:
        figures["importance"] = importance_plot.figure(found, data.short)
        tables.append(_importance_table(data, found))
        parts += [note(_found_text(data, found)), plot("importance", "importance of quantities"),
                  tables[0].to_html(), note(_shares_text(len(compared)))]  # fmt: skip
        for rung, later in _later_importances(data, budget):
            name = f"importance-{rung}"
            figures[name] = importance_plot.figure(later, data.short)
            shown = plot(name, f"importance at update {rung}")
            parts.append(at_rung(data, rung, note(_found_text(data, later)), shown))
    else:
        parts.append(note(_too_few(data, len(compared))))
    places = []
    for number, dimension in enumerate(data.dimensions):
        figure = slices.figure(data, dimension)
        if figure is not None:
            figures[f"slice-{number}"] = figure
            places.append(plot(f"slice-{number}", f"values over {dimension.path}"))
    parts.append(tag("div", *places, class_="slices"))
    choices = _choices_table(data)
    if choices is not None:
        tables.append(choices)
        parts += [tag("h3", "Values of each choice"), choices.to_html()]
    return Section("settings", "settings", title, joined(*parts), figures, tables)


def _budget_text(data: StudyData, budget: int) -> str:
    values = [value for _, value in data.compared() if math.isfinite(value)]
    where = "the first rung" if data.rungs and budget == data.rungs[0] else "which all reached"
    spread = (
        f": {len(values)} trials within {min(values):.2f} .. {max(values):.2f}" if values else ""
    )
    return (
        f"Every trial by its best up to update {budget}, {where}{spread}. Scores would mislead: "
        "a trial that was stopped early is lower because it is shorter."
    )


def _too_few(data: StudyData, count: int) -> str:
    searched = len(data.dimensions)
    if searched < 2:
        return "One quantity is searched: its slice is the answer."
    if count >= FEWEST_TRIALS:
        return "No quantity exists in enough of the trials to rank it."
    return (
        f"{count} trials of {searched} quantities cannot rank them; from {FEWEST_TRIALS} trials on "
        "there are bars, from about 32 they find what matters in most studies."
    )


def _found_text(data: StudyData, found: Importances) -> str:
    told = found.found()
    if not told:
        return "No quantity is told apart from chance: every bar lies within the grey band."
    parts = [f"{data.short[bar.path]} ({bar.direction})" for bar in told]
    return f"Told apart from chance: {', '.join(parts)}."


def _later_importances(data: StudyData, budget: int) -> Iterator[tuple[int, Importances]]:
    """The importances at each rung after `budget` that enough trials reached."""
    for rung in data.rungs:
        found = importance_of(data, rung) if rung > budget else None
        if found is not None:
            yield rung, found


def at_rung(data: StudyData, rung: int, *parts: Markup) -> Markup:
    """What a section has of a later rung, folded away, with the number of trials left."""
    left = sum(math.isfinite(value) for _, value in data.compared(rung))
    said = f"at update {rung:,}, which {left} trials reached: those that were better before"
    return tag("details", tag("summary", said), *parts)


def _shares_text(trials: int) -> str:
    return (
        f"PED-ANOVA (Optuna's): the share in reaching the best {100 * top_quantile(trials):.0f} %, "
        "empty within the band. It has no band of its own and puts a quantity that does nothing "
        "first in about a fifth of studies: R2 decides."
    )


def _shares(data: StudyData) -> dict[str, float]:
    """PED-ANOVA's share of each quantity, at equal budget."""
    compared = data.compared()
    dimensions = {each.path: each for each in data.dimensions}
    points = [
        {path: value for path, value in trial.point.items() if path in dimensions}
        for trial, _ in compared
    ]
    return top_shares(dimensions, points, [value for _, value in compared])


def _importance_table(data: StudyData, found: Importances) -> Table:
    columns = [Column("quantity"), Column("R2", 2), Column("low", 2), Column("high", 2),
               Column("chance", 2), Column("trials"), Column("PED-ANOVA", 2),
               Column("direction")]  # fmt: skip
    shares = _shares(data) if found.found() else {}
    rows = []
    for bar in found.bars:
        told = bar.r2 > found.chance
        figures = (bar.r2, bar.low, bar.high, found.chance, bar.trials)
        direction = bar.direction if told else "not told apart from chance"
        share = shares.get(bar.path) if told else None
        rows.append((data.short[bar.path], *figures, share, direction))
    return Table("importance", columns, rows)


def _choices_table(data: StudyData) -> Table | None:
    """Mean and range of each value of each choice: the answer of a grid."""
    chosen = [each for each in data.dimensions if each.distribution == "choice"]
    rows = []
    for each in chosen:
        for word in each.args:
            values = [v for t, v in data.compared() if math.isfinite(v)
                      and repr(t.point.get(each.path)) == repr(word)]  # fmt: skip
            if values:
                rows.append((data.short[each.path], as_text(word), len(values),
                             float(np.mean(values)), min(values), max(values)))  # fmt: skip
    decimals = partial(Column, digits=2)
    columns = [Column("quantity"), Column("value"), Column("trials"), decimals("mean, dB"),
               decimals("lowest"), decimals("highest")]  # fmt: skip
    return Table("choices", columns, rows) if rows else None


def together_section(data: StudyData) -> Section:
    """Parallel coordinates."""
    title = "What belongs together?"
    figure = parallel.figure(data)
    if figure is None:
        said = (
            f"Parallel coordinates are drawn from {parallel.FEWEST_TRIALS} comparable trials and "
            "two quantities on; the table above has fewer."
        )
        return Section("together", "together", title, lead(said))
    said = "A line a trial, yellow the highest fifth at equal budget; “-”: it has no such quantity."
    figures, parts = {"parallel": figure}, [_wide("parallel")]
    for rung in data.rungs:
        later = parallel.figure(data, rung) if rung > (data.budget_compared or 0) else None
        if later is not None:
            figures[f"parallel-{rung}"] = later
            parts.append(at_rung(data, rung, _wide(f"parallel-{rung}")))
    return Section("together", "together", title, joined(lead(said), *parts), figures)


def _wide(name: str) -> Markup:
    return tag("div", plot(name, "parallel coordinates"), class_="wide")
