"""Where bicubic, the first point, the best trial and the teacher lie, in dB, on one line."""

from __future__ import annotations

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import LIGHT, plain, with_selected
from tune_sr.reporting.study_data import StudyData


def named_values(data: StudyData) -> dict[str, float]:
    """The scores in dB of what the study compares, by name."""
    trials = {"first point": data.first, "best": data.best}
    scores = {name: t.score for name, t in trials.items() if t is not None and t.score is not None}
    found = {"bicubic": data.marks.get("bicubic"), **scores, "teacher": data.marks.get("teacher")}
    return {name: value for name, value in found.items() if value is not None}


def figure(data: StudyData) -> go.Figure | None:
    """The number line; None with fewer than two values to compare."""
    values = named_values(data)
    if len(values) < 2:
        return None
    made = plain("", "", height=104)
    made.update_layout(margin={"l": 30, "r": 30, "t": 6, "b": 6}, showlegend=False)
    made.update_yaxes(visible=False, range=[-1.25, 1.25], fixedrange=True)
    made.update_xaxes(title_text="dB", showline=True, fixedrange=True, tickformat=".2~f")
    symbols = {
        "bicubic": "line-ns",
        "first point": "diamond",
        "best": "circle",
        "teacher": "square",
    }
    for place, (name, value) in enumerate(values.items()):
        colour = LIGHT["accent" if name == "best" else "ink"]
        made.add_scatter(
            x=[round(value, 3)], y=[0], mode="markers+text", text=[f"{name} {value:.2f}"],
            textposition="top center" if place % 2 == 0 else "bottom center", name=name,
            textfont={"color": colour, "size": 12}, cliponaxis=False,
            marker={"symbol": symbols[name], "size": 12, "color": colour,
                    "line": {"width": 2, "color": colour}},
            hovertemplate="%{x:.3f} dB<extra></extra>",
        )  # fmt: skip
    low, high = min(values.values()), max(values.values())
    made.update_xaxes(range=[low - 0.1 * (high - low or 1), high + 0.1 * (high - low or 1)])
    return with_selected(made, "markers")
