"""Who worked when: a row for each place that trials ran on."""

from __future__ import annotations

from itertools import groupby

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import LIGHT, STATES, plain
from tune_sr.reporting.study_data import StudyData

_MOST_ROWS = 60


def figure(data: StudyData) -> go.Figure | None:
    """The spans as bars, hatched where work was repeated; None before the first trial."""
    spans = data.spans
    if not spans:
        return None
    places = sorted({span.place for span in spans}, key=_by_number)[:_MOST_ROWS]
    made = plain("minutes", "", height=90 + max(26, min(40, 900 // len(places))) * len(places))
    made.update_layout(barmode="overlay", bargap=0.25)
    state_of = {trial.name: trial.state for trial in data.trials}
    if data.results.history.confirmation is not None:
        state_of |= dict.fromkeys(data.results.history.confirmation.trials, "completed")
    for state in STATES:
        for lost in (False, True):
            own = [s for s in spans if state_of.get(s.trial) == state and s.lost == lost]
            if own:
                width = [max(span.end - span.start, 0.0) for span in own]
                names = [span.trial for span in own]
                made.add_bar(
                    x=[round(each, 3) for each in width], y=[span.place for span in own],
                    base=[round(span.start, 3) for span in own], orientation="h",
                    name=f"{state}, begun again" if lost else state, customdata=names,
                    text=names if len(spans) <= 40 else None, textposition="inside",
                    insidetextanchor="middle", constraintext="inside",
                    textfont={"color": "#ffffff"},
                    marker={"color": LIGHT[state], "line": {"color": "#ffffff", "width": 0.5},
                            **({"pattern": {"shape": "/"}} if lost else {})},
                    hovertemplate="trial %{customdata}: %{base:.1f} min, for %{x:.1f}"
                                  "<extra></extra>",
                )  # fmt: skip
    for start in data.clock.starts:
        made.add_vline(x=start, line={"color": LIGHT["ink"], "width": 1.5})
    made.update_yaxes(showgrid=False, categoryorder="array", categoryarray=places[::-1])
    return made


def _by_number(place: str) -> list[tuple[bool, int, str]]:
    """A key that sorts `slot 10` behind `slot 9`."""
    parts = ("".join(run) for _, run in groupby(place, str.isdigit))
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
