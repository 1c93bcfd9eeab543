"""Quality against cost: every trial, and the Pareto front as steps."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from tune_sr.cli.formatting import format_cost
from tune_sr.reporting.plots.learning_curves import floor_of
from tune_sr.reporting.plots.style import (
    LIGHT,
    STATES,
    horizontal,
    limits,
    marker,
    plain,
    rounded,
    with_selected,
)
from tune_sr.reporting.study_data import StudyData, Trial


def figure(data: StudyData) -> go.Figure | None:
    """The front of a study with two objectives; None for one objective, or without a score."""
    key = data.results.cost
    shown = [t for t in data.trials if t.score is not None and t.cost is not None]
    if key is None or not shown:
        return None
    made = plain(f"{key} of the student", data.objective, height=380)
    for state in STATES:
        own = [trial for trial in shown if trial.state == state]
        if own:
            made.add_scatter(
                x=[t.cost for t in own], y=rounded(t.score for t in own), mode="markers",
                name=state, marker=marker(state), customdata=[t.number for t in own],
                text=[format_cost(key, t.cost or 0.0) for t in own],
                hovertemplate="trial %{customdata:04d}: %{y:.2f} at %{text}<extra></extra>",
            )  # fmt: skip
    front = front_of(data)
    made.add_scatter(
        x=[t.cost for t in front], y=rounded(t.score for t in front), mode="lines+markers",
        line={"shape": "hv", "color": LIGHT["accent"], "width": 2.5}, name="front",
        marker={"size": 11, "symbol": "circle-open", "line": {"width": 2.5}}, hoverinfo="skip",
    )  # fmt: skip
    if data.first is not None and data.first in shown:
        made.add_annotation(
            x=_place(made, shown, data.first.cost or 1.0), y=data.first.score, text="first point",
            showarrow=True, arrowhead=0, ax=0, ay=24, font={"size": 11, "color": LIGHT["faint"]},
        )  # fmt: skip
    costs = [t.cost for t in shown if t.cost]
    if costs and max(costs) > 10 * min(costs):
        made.update_xaxes(type="log")
    for name, value in data.marks.items():
        horizontal(made, value, name)
    scores = [t.score for t in shown if t.score is not None]
    made.update_yaxes(range=limits(scores, data.marks.values(), floor_of(data)))
    return with_selected(made, "markers")


def _place(made: go.Figure, shown: list[Trial], cost: float) -> float:
    costs = [t.cost for t in shown if t.cost]
    return math.log10(cost) if costs and max(costs) > 10 * min(costs) else cost


def front_of(data: StudyData) -> list[Trial]:
    """The trials of the front, cheapest first."""
    return [data.by_name[record.name] for record in data.results.front]
