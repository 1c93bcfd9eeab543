"""How each trial went, and where it was stopped: its objective over student updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

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

_BELOW = 0.6
"""In dB: how far below bicubic the value axis reaches."""
_MOST_WITH_GROWTHS = 60
"""Of more trials the triangles would hide the curves."""
Series = Callable[[Trial], Sequence[float | None]]


def floor_of(data: StudyData) -> float | None:
    """The value below which curves are cut off, in dB; None where there is no bicubic."""
    return data.marks["bicubic"] - _BELOW if "bicubic" in data.marks else None


def count_below(data: StudyData) -> int:
    """How many trials have no value above the floor."""
    floor = floor_of(data)
    if floor is None:
        return 0
    return sum(bool(t.values) and t.best_until(t.last_step) < floor for t in data.trials)


def figure(data: StudyData) -> go.Figure | None:
    """The curves, one trace for all trials of a state; None before the first report."""
    shown = [trial for trial in data.trials if trial.values]
    if not shown:
        return None
    made = plain("student updates", data.objective, height=430)
    for step in data.rungs:
        made.add_vline(x=step, line={"color": LIGHT["faint"], "width": 1, "dash": "dot"})
    for state in STATES:
        _add_state(made, [trial for trial in shown if trial.state == state], state)
    if len(shown) <= _MOST_WITH_GROWTHS:
        _add_growths(made, shown)
    if data.best is not None and data.best in shown:
        best = data.best
        made.add_scatter(
            x=list(best.steps), y=rounded(best.values), mode="lines", name=f"best, {best.name}",
            line={"color": LIGHT["accent"], "width": 3.5}, hoverinfo="skip",
            meta={"x": {"minutes": _minutes(best)},
                  "y": {"loss": _losses(best)}},
        )  # fmt: skip
    for name, value in data.marks.items():
        horizontal(made, value, name)
    floor = floor_of(data)
    every = [value for trial in shown for value in trial.values]
    made.update_yaxes(range=limits(every, data.marks.values(), floor))
    return with_selected(made, "lines")


def _add_state(made: go.Figure, trials: Sequence[Trial], state: str) -> None:
    """Add the lines of one state, with gaps between trials, and the marks at their ends."""
    if not trials:
        return
    few = sum(len(trial.steps) for trial in trials) <= 4000
    names = [number for t in trials for number in [*[t.number] * len(t.steps), None]]
    made.add_scatter(
        x=_joined(trials, lambda t: t.steps), y=rounded(_joined(trials, lambda t: t.values)),
        customdata=names, mode="lines", name=state, legendgroup=state, showlegend=False,
        line={"color": LIGHT[state], "width": 1.4 if few else 0.7}, opacity=0.85 if few else 0.5,
        meta={"x": {"minutes": _joined(trials, _minutes)}, "y": {"loss": _joined(trials, _losses)}},
        hovertemplate="trial %{customdata:04d}, %{x}: %{y:.2f}<extra></extra>",
    )  # fmt: skip
    made.add_scatter(
        x=[t.steps[-1] for t in trials], y=rounded(t.values[-1] for t in trials),
        customdata=[t.number for t in trials], text=[_end_text(t) for t in trials],
        mode="markers", name=state, legendgroup=state, marker=marker(state, 9 if few else 6),
        meta={"x": {"minutes": [_minutes(t)[-1] for t in trials]},
              "y": {"loss": [_losses(t)[-1] for t in trials]}},
        hovertemplate="trial %{customdata:04d}: %{text}<extra></extra>",
    )  # fmt: skip


def _add_growths(made: go.Figure, trials: Sequence[Trial]) -> None:
    """Add a triangle where a student grew, on the curve's report before it."""
    points: list[tuple[int, int, float, float, float | None]] = []
    for trial in trials:
        for growth in trial.growths:
            at = next((i for i, step in enumerate(trial.steps) if step >= growth), None)
            if at is not None:
                points.append((trial.number, trial.steps[at], _minutes(trial)[at],
                               trial.values[at], _losses(trial)[at]))  # fmt: skip
    if points:
        numbers, steps, minutes, values, losses = (list(each) for each in zip(*points, strict=True))
        made.add_scatter(
            x=steps, y=rounded(values), customdata=numbers, mode="markers", name="student grown",
            marker={"symbol": "triangle-up-open", "size": 8, "color": LIGHT["faint"]},
            meta={"x": {"minutes": minutes}, "y": {"loss": losses}},
            hovertemplate="trial %{customdata:04d}: grown before this report<extra></extra>",
        )  # fmt: skip


def _minutes(trial: Trial) -> list[float]:
    """Minutes since the trial was added, at each report."""
    return [round(minute - trial.added, 2) for minute in trial.minutes]


def _losses(trial: Trial) -> list[float | None]:
    """The first loss at each report, to three significant digits."""
    return [float(f"{loss:.3g}") if math.isfinite(loss) else None for loss in trial.losses]


def _joined(trials: Sequence[Trial], series: Series) -> list[Any]:
    """One list for all trials, with a gap after each."""
    return [value for trial in trials for value in [*series(trial), None]]


def _end_text(trial: Trial) -> str:
    judged = trial.judged.get(trial.last_step)
    if trial.state == "stopped" and judged is not None:
        return f"stopped at {trial.last_step}: {judged}"
    # Reasons come from files: a page escapes what plotly takes for its own tags.
    reason = f": {trial.reason}" if trial.reason else ""
    text = f"{trial.state} at {trial.last_step}{reason}"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
