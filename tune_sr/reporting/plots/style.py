"""Colours, shapes and axes that all plots share.

A state is known by colour and by shape. A page in dark mode replaces each colour of `LIGHT` by that
of `DARK`; a notebook shows the light ones. All traces are SVG: WebGL is slow without a GPU, and off
in some browsers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

LIGHT = {
    "ink": "#1d2129", "faint": "#6b7280", "line": "#d5d9e0", "accent": "#1f5fa8",
    "completed": "#3b7cc4", "stopped": "#c08a1e", "failed": "#c0392b", "running": "#3d8b5f",
    "band": "#e9ecf1", "selected": "#b5179e",
}  # fmt: skip
DARK = {
    "ink": "#e8eaee", "faint": "#9aa3b2", "line": "#3a404b", "accent": "#7ab3f0",
    "completed": "#5a9be0", "stopped": "#d9a83f", "failed": "#ef7466", "running": "#62b587",
    "band": "#2a2f38", "selected": "#ff7de9",
}  # fmt: skip
SYMBOLS = {
    "completed": "circle", "stopped": "x-thin", "failed": "triangle-down-open",
    "running": "diamond-open",
}  # fmt: skip
GLYPHS = {"completed": "●", "stopped": "✕", "failed": "▽", "running": "◇"}
STATES = tuple(SYMBOLS)
SELECTED = "selected"
"""Name of the trace that a page fills with the trial that was clicked."""


def plain(title_x: str, title_y: str, height: int = 340) -> go.Figure:
    """An empty figure with titled axes, a light grid and no box."""
    figure = go.Figure()
    axis: dict[str, Any] = {
        "gridcolor": LIGHT["line"], "linecolor": LIGHT["line"], "zeroline": False,
        "ticks": "outside", "tickcolor": LIGHT["line"], "ticklen": 4, "automargin": True,
        "title": {"standoff": 8},
    }  # fmt: skip
    figure.update_layout(
        template=None,
        height=height,
        margin={"l": 12, "r": 16, "t": 14, "b": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": LIGHT["ink"]},
        hoverlabel={"namelength": -1},
        hovermode="closest",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        xaxis=axis,
        yaxis={**axis, "gridcolor": LIGHT["line"]},
    )
    figure.update_xaxes(title_text=title_x, showgrid=False)
    figure.update_yaxes(title_text=title_y)
    return figure


def marker(state: str, size: int = 9) -> dict[str, Any]:
    """The marker of a state: its shape and its colour."""
    return {
        "symbol": SYMBOLS[state], "size": size, "color": LIGHT[state],
        "line": {"width": 2, "color": LIGHT[state]},
    }  # fmt: skip


def with_selected(figure: go.Figure, mode: str) -> go.Figure:
    """The figure with a last trace, empty, for the trial that a reader has clicked."""
    return figure.add_scatter(
        x=[], y=[], mode=mode, name=SELECTED, showlegend=False, hoverinfo="skip",
        line={"color": LIGHT["selected"], "width": 4},
        marker={"size": 13, "symbol": "circle-open", "color": LIGHT["selected"],
                "line": {"width": 3, "color": LIGHT["selected"]}},
    )  # fmt: skip


def horizontal(figure: go.Figure, value: float, label: str, side: str = "right") -> None:
    """Draw a dashed line over the whole width, its name at one end."""
    figure.add_hline(
        y=value, line={"color": LIGHT["faint"], "width": 1, "dash": "dash"},
        annotation={"text": label, "font": {"size": 11, "color": LIGHT["faint"]},
                    "bgcolor": "rgba(0,0,0,0)"},
        annotation_position=f"top {side}",
    )  # fmt: skip


def rounded(values: Iterable[float | None], digits: int = 2) -> list[float | None]:
    """Values with few decimals; None, a gap, for what is not finite."""
    return [
        None if value is None or not math.isfinite(value) else round(value, digits)
        for value in values
    ]


def log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of a log axis at powers of ten, `1e-5` and not 10µ; at 1, 2, 5 of a short one.

    >>> log_ticks(1e-6, 3e-4)
    ([1e-06, 1e-05, 0.0001], ['1e-6', '1e-5', '1e-4'])
    >>> log_ticks(0.03, 0.3)
    ([0.05, 0.1, 0.2], ['0.05', '0.1', '0.2'])
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if math.log10(high / low) > 2 else (1, 2, 5)
    ticks = [float(f"{step}e{power}") for power in decades for step in steps]
    inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    return inside, [short_number(tick) for tick in inside]


def short_number(value: float, digits: int = 3) -> str:
    """A number in few characters: `0.109`, `1.2e-6`, `240`.

    >>> short_number(1.23e-6), short_number(0.1087), short_number(240.0), short_number(1e-5)
    ('1.23e-6', '0.109', '240', '1e-5')
    """
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(power)}"
    return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def as_text(value: Any) -> str:
    """A searched value as tables and axes show it."""
    if isinstance(value, float):
        return short_number(value)
    return (
        {True: "true", False: "false", None: "null"}.get(value, str(value))
        if (value is None or isinstance(value, bool))
        else str(value)
    )


def limits(values: Sequence[float], marks: Iterable[float], floor: float | None) -> list[float]:
    """Limits of a dB axis: what is shown with margins, cut at `floor` from below."""
    shown = [value for value in (*values, *marks) if math.isfinite(value)]
    if floor is not None:
        shown = [value for value in shown if value >= floor] or [floor]
    low, high = min(shown), max(shown)
    margin = 0.06 * (high - low or 1.0)
    return [round(low - margin, 3), round(high + margin, 3)]
