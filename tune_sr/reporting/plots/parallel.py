"""Parallel coordinates: a line for each trial over all quantities, coloured by its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tune_sr.reporting.plots.slices import axis_of
from tune_sr.reporting.plots.style import LIGHT, as_text, plain, short_number, with_selected
from tune_sr.reporting.study_data import StudyData, Trial
from tune_sr.space.dimension import Dimension

FEWEST_TRIALS = 12
_INACTIVE = -0.14
_RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#d8c91c")
"""Viridis from the lowest fifth of the trials to the highest."""


def figure(data: StudyData, update: int | None = None) -> go.Figure | None:
    """The lines at equal budget; None with fewer than 12 trials or than two quantities.

    Args:
        data: the study.
        update: the budget; None: the first rung.
    """
    compared = [(t, v) for t, v in data.compared(update) if math.isfinite(v)]
    axes = data.dimensions
    if len(compared) < FEWEST_TRIALS or len(axes) < 2:
        return None
    made = plain("", "", height=420)
    made.update_layout(showlegend=True, margin={"l": 24, "r": 24, "t": 40, "b": 34})
    made.update_yaxes(visible=False, range=[_INACTIVE - 0.08, 1.05])
    names = [*(data.short[each.path] for each in axes), "value"]
    made.update_xaxes(tickvals=list(range(len(names))), ticktext=names, showline=False, ticks="",
                      range=[-0.25, len(names) - 0.6])  # fmt: skip
    values = [value for _, value in compared]
    low, high = min(values), max(values)
    for place, axis in enumerate(axes):
        _draw_axis(made, place, axis)
    _draw_ends(made, len(axes), low, high)
    order = sorted(compared, key=lambda each: each[1])
    for fifth, colour in enumerate(_RAMP):
        part = order[len(order) * fifth // 5 : len(order) * (fifth + 1) // 5]
        if part:
            label = ("lowest fifth", "", "", "", "highest fifth")[fifth]
            _add_lines(made, data, part, (low, high), colour, label)
    for trial, name, colour in ((data.first, "first point", "ink"), (data.best, "best", "accent")):
        if trial is not None and any(trial is each for each, _ in compared):
            own = [(each, v) for each, v in compared if each is trial]
            _add_lines(made, data, own, (low, high), LIGHT[colour], name, width=3.5)
    return with_selected(made, "lines")


def _add_lines(
    made: go.Figure,
    data: StudyData,
    part: Sequence[tuple[Trial, float]],
    ends: tuple[float, float],
    colour: str,
    name: str,
    width: float = 1.2,
) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    span = (ends[1] - ends[0]) or 1.0
    for trial, value in part:
        heights = [height(axis, trial.point.get(axis.path)) for axis in data.dimensions]
        y += [*(round(each, 4) for each in heights), round((value - ends[0]) / span, 4), None]
        x += [*range(len(heights) + 1), None]
        numbers += [*[trial.number] * (len(heights) + 1), None]
    made.add_scatter(
        x=x, y=y, customdata=numbers, mode="lines", name=name, showlegend=bool(name),
        line={"color": colour, "width": width}, opacity=0.75 if width < 2 else 1,
        hovertemplate="trial %{customdata:04d}<extra></extra>",
    )  # fmt: skip


def height(axis: Dimension, value: Any) -> float:
    """The height of a value on its axis, 0 to 1; below the axis where it does not exist."""
    if value is None:
        return _INACTIVE
    if axis.distribution == "choice":
        place = [repr(each) for each in axis.args].index(repr(value))
        return place / max(1, len(axis.args) - 1) if len(axis.args) > 1 else 0.5
    low, high = float(axis.args[0]), float(axis.args[1])
    if axis.distribution.startswith("log"):
        return math.log(value / low) / math.log(high / low)
    return (float(value) - low) / (high - low)


def _draw_axis(made: go.Figure, place: int, axis: Dimension) -> None:
    _draw_line(made, place)
    if axis.distribution == "choice":
        ticks = [(height(axis, value), as_text(value)) for value in axis.args]
    elif axis.distribution.startswith("log"):
        shown = axis_of(axis)
        pairs = zip(shown["tickvals"], shown["ticktext"], strict=True)
        ticks = [(height(axis, tick), word) for tick, word in pairs]
    else:
        ticks = [(height(axis, end), short_number(float(end))) for end in axis.args[:2]]
    if axis.when:
        ticks.append((_INACTIVE, "-"))
    for at, word in ticks:
        _draw_tick(made, place, at, word)


def _draw_ends(made: go.Figure, place: int, low: float, high: float) -> None:
    _draw_line(made, place)
    for at, value in ((0.0, low), (1.0, high)):
        _draw_tick(made, place, at, f"{value:.2f}")


def _draw_line(made: go.Figure, place: int) -> None:
    made.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, layer="below",
                   line={"color": LIGHT["faint"], "width": 1})  # fmt: skip


def _draw_tick(made: go.Figure, place: int, at: float, word: str) -> None:
    made.add_annotation(x=place, y=at, text=word, showarrow=False, xanchor="left", xshift=5,
                        font={"size": 11, "color": LIGHT["faint"]})  # fmt: skip
