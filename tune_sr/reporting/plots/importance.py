"""How much of the trials' order each quantity explains, with the band that chance reaches."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import LIGHT, plain
from tune_sr.statistics.importance import Importances


def figure(found: Importances, short: Mapping[str, str]) -> go.Figure:
    """Bars with 10-90 % whiskers, the largest on top; those within the band are grey.

    Args:
        found: of `importances`.
        short: each path's short name.
    """
    bars = list(reversed(found.bars))
    made = plain("adjusted R2 of ranks", "", height=70 + 34 * len(bars))
    made.update_layout(showlegend=False, bargap=0.45)
    made.add_vrect(x0=0, x1=max(0.0, found.chance), fillcolor=LIGHT["band"], line_width=0,
                   layer="below", annotation_text="chance", annotation_position="top right",
                   annotation_font={"size": 11, "color": LIGHT["faint"]})  # fmt: skip
    told = [bar.r2 > found.chance for bar in bars]
    shown = [max(0.0, bar.r2) for bar in bars]
    made.add_bar(
        x=[round(value, 3) for value in shown], y=[short[bar.path] for bar in bars],
        orientation="h", marker={"color": [LIGHT["accent" if t else "faint"] for t in told]},
        customdata=[bar.direction if t else "not told apart from chance"
                    for bar, t in zip(bars, told, strict=True)],
        error_x={"type": "data", "symmetric": False, "thickness": 1.5, "color": LIGHT["ink"],
                 "array": [max(0.0, bar.high - v) for bar, v in zip(bars, shown, strict=True)],
                 "arrayminus": [max(0.0, v - max(0.0, bar.low))
                                for bar, v in zip(bars, shown, strict=True)]},
        hovertemplate="%{y}: %{x:.2f}, %{customdata}<extra></extra>",
    )  # fmt: skip
    top = max([found.chance, *(bar.high for bar in bars), *shown])
    made.update_xaxes(range=[0, 1.08 * max(top, 0.05)])
    made.update_yaxes(showgrid=False, type="category")
    return made
