"""Each searched quantity against the value at equal budget: one small plot for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import (
    LIGHT,
    STATES,
    as_text,
    limits,
    log_ticks,
    marker,
    plain,
    rounded,
)
from tune_sr.reporting.study_data import StudyData, Trial
from tune_sr.space.dimension import Dimension


def figure(data: StudyData, dimension: Dimension) -> go.Figure | None:
    """One quantity's slice; None before trials can be compared.

    Trials in which the quantity does not exist are left out.
    """
    compared = [(t, v) for t, v in data.compared() if math.isfinite(v)]
    shown = [(t, v) for t, v in compared if t.point.get(dimension.path) is not None]
    if not shown:
        return None
    made = plain(data.short[dimension.path], "", height=230)
    made.update_layout(showlegend=False)
    made.update_yaxes(range=limits([value for _, value in compared], (), None), nticks=5)
    made.update_xaxes(**axis_of(dimension))
    for state in STATES:
        own = [(trial, value) for trial, value in shown if trial.state == state]
        if own:
            _add(made, dimension, own, state)
    special = [(each, v) for each, v in shown if each in (data.best, data.first)]
    for trial, value in special:
        best = trial is data.best
        made.add_annotation(
            x=_x(dimension, trial.point[dimension.path]), y=value, xref="x", yref="y",
            text="best" if best else "first", showarrow=False, yshift=12 if best else -12,
            font={"size": 11, "color": LIGHT["accent" if best else "faint"]},
        )  # fmt: skip
    made.add_scatter(
        x=[], y=[], mode="markers", name="selected", hoverinfo="skip",
        marker={"size": 14, "symbol": "circle-open", "color": LIGHT["selected"],
                "line": {"width": 3, "color": LIGHT["selected"]}},
    )  # fmt: skip
    return made


def _add(
    made: go.Figure, dimension: Dimension, own: Sequence[tuple[Trial, float]], state: str
) -> None:
    values = [trial.point[dimension.path] for trial, _ in own]
    places = [
        _choice(dimension, value) + _jitter(trial.number)
        if dimension.distribution == "choice"
        else value
        for value, (trial, _) in zip(values, own, strict=True)
    ]
    made.add_scatter(
        x=places, y=rounded(value for _, value in own), mode="markers", name=state,
        customdata=[trial.number for trial, _ in own], text=[as_text(value) for value in values],
        marker=marker(state, 8 if len(own) <= 100 else 4),
        hovertemplate="trial %{customdata:04d}, %{text}: %{y:.2f}<extra></extra>",
    )  # fmt: skip


def axis_of(dimension: Dimension) -> dict[str, Any]:
    """The axis of a quantity: logarithmic where the space is, a place for each choice."""
    if dimension.distribution == "choice":
        words = [as_text(value) for value in dimension.args]
        return {"tickvals": list(range(len(words))), "ticktext": words,
                "range": [-0.5, len(words) - 0.5]}  # fmt: skip
    low, high = float(dimension.args[0]), float(dimension.args[1])
    if dimension.distribution.startswith("log"):
        ticks, words = log_ticks(low, high)
        margin = 0.04 * math.log10(high / low)
        return {"type": "log", "tickvals": ticks, "ticktext": words,
                "range": [math.log10(low) - margin, math.log10(high) + margin]}  # fmt: skip
    margin = 0.04 * (high - low)
    return {"nticks": 6, "range": [low - margin, high + margin]}


def _x(dimension: Dimension, value: Any) -> float:
    """Where an annotation stands: on a log axis plotly takes the exponent."""
    if dimension.distribution == "choice":
        return float(_choice(dimension, value))
    return math.log10(value) if dimension.distribution.startswith("log") else float(value)


def _choice(dimension: Dimension, value: Any) -> int:
    return [repr(each) for each in dimension.args].index(repr(value))


def _jitter(number: int) -> float:
    """A shift that parts points of one choice, the same for a trial in every plot."""
    return ((number * 0.618034) % 1 - 0.5) * 0.36
