"""How far training moved the generators, over student updates."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import LIGHT, STATES, plain, with_selected
from tune_sr.reporting.study_data import StudyData

_MOST_POINTS = 10_000


def figure(data: StudyData) -> go.Figure | None:
    """The change in per cent of the images' contrast; None where no trial reports one."""
    shown = [t for t in data.trials if any(math.isfinite(change) for change in t.changes)]
    if not shown:
        return None
    # A change is smooth: of very many reports a few of each trial draw the same line.
    thin = 1 + sum(len(t.steps) for t in shown) // _MOST_POINTS
    made = plain("student updates", "change, % of contrast", height=320)
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]
    made.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    for state in STATES:
        own = [trial for trial in shown if trial.state == state]
        if own:
            made.add_scatter(
                x=[step for t in own for step in [*t.steps[::thin], None]],
                y=[_percent(change) for t in own for change in [*t.changes[::thin], None]],
                customdata=[n for t in own for n in [*[t.number] * len(t.steps[::thin]), None]],
                mode="lines", name=state, line={"color": LIGHT[state], "width": 1.4},
                hovertemplate="trial %{customdata:04d}, %{x}: %{y:.2g} %<extra></extra>",
            )  # fmt: skip
    if data.best is not None and data.best in shown:
        made.add_scatter(
            x=list(data.best.steps), y=[_percent(change) for change in data.best.changes],
            mode="lines", name=f"best, {data.best.name}", hoverinfo="skip",
            line={"color": LIGHT["accent"], "width": 3.5},
        )  # fmt: skip
    return with_selected(made, "lines")


def _percent(change: float | None) -> float | None:
    if change is None or not math.isfinite(change) or change <= 0:
        return None
    return float(f"{100 * change:.3g}")
