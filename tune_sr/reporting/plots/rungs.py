"""The values at the first rung against those at the end, of the trials that went on to it."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import LIGHT, marker, plain, rounded, with_selected
from tune_sr.reporting.study_data import StudyData, Trial


def finishers(data: StudyData) -> list[Trial]:
    """The trials that used their whole budget."""
    return [trial for trial in data.trials if trial.state == "completed" and trial.score]


def figure(data: StudyData) -> go.Figure | None:
    """One point for each trial that went on to the end; None with fewer than three, or no rung."""
    done = finishers(data)
    if len(done) < 3 or not data.rungs:
        return None
    made = plain(f"best up to update {data.rungs[0]}, dB", "best up to the end, dB", height=320)
    made.update_layout(showlegend=False)
    early = [trial.best_until(data.rungs[0]) for trial in done]
    late = [trial.best_until(trial.last_step) for trial in done]
    made.add_scatter(
        x=rounded(early), y=rounded(late), mode="markers", marker=marker("completed"),
        customdata=[trial.number for trial in done],
        hovertemplate="trial %{customdata:04d}: %{x:.2f}, then %{y:.2f}<extra></extra>",
    )  # fmt: skip
    stopped = [t.best_until(data.rungs[0]) for t in data.trials if t.state == "stopped"]
    low = min(late)
    made.add_scatter(
        x=rounded(stopped), y=[low] * len(stopped), mode="markers", hoverinfo="skip",
        marker={"symbol": "line-ns", "size": 12, "line": {"width": 1.5, "color": LIGHT["stopped"]}},
    )  # fmt: skip
    if all(math.isfinite(value) for value in early):
        made.update_xaxes(nticks=8)
    return with_selected(made, "markers")
