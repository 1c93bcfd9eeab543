"""A section of a report: a question, its answer, and the figures, tables and numbers of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tune_sr.reporting.markup import Markup, tag
from tune_sr.reporting.table import Table

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    anchor: str
    """Its place in the page's address, and its key in `--json`."""
    short: str
    """Its link at the top."""
    question: str
    body: Markup
    """Holds a `plot(name)` for each figure."""
    figures: Mapping[str, go.Figure] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What `--json` has of it beside the tables."""

    def to_html(self) -> Markup:
        """The section as it stands in the page."""
        return tag("section", tag("h2", self.question), self.body, id=self.anchor)


def plot(name: str, label: str) -> Markup:
    """The place of a figure; `label` is read out in its stead."""
    return tag("div", class_="plot", data_figure=name, role="img", aria_label=label)


def switch(figure: str, axis: str, choices: Mapping[str, str]) -> Markup:
    """Buttons that exchange a figure's axis `x` or `y`.

    Args:
        figure: the figure's name.
        axis: `x` or `y`.
        choices: key of the traces' `meta[axis]` -> label; the first is shown at the start.
    """
    buttons = [
        tag("button", label, type="button", data_switch=figure, data_axis=axis, data_key=key,
            aria_pressed="true" if place == 0 else "false")
        for place, (key, label) in enumerate(choices.items())
    ]  # fmt: skip
    return tag("span", *buttons, class_="switch")
