"""Plots quality against cost: every trial, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tune_sr.cli.formatting import format_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, ACCENT = "#1d2129", "#6b7280", "#2563a8"
_SPREAD = 10.0
"""Ratio of the largest to the smallest cost from which on the cost axis is logarithmic."""
_MARGIN = 0.08
"""Margin above and below the values shown, as a share of their range."""


class TrialPoint(NamedTuple):
    """One trial with a score, to be plotted."""

    trial: str
    """The trial's name."""
    value: float
    """Its score, the objective that is maximised."""
    cost: float
    """Its cost, the objective that is minimised."""


@dataclass(frozen=True)
class ParetoPlot:
    """The data of a Pareto plot: the trials of a study with two objectives."""

    value: str
    """The report key that is maximised."""
    cost: str
    """The report key that is minimised."""
    trials: tuple[TrialPoint, ...]
    """The trials with a score, at least one."""
    front: tuple[str, ...]
    """Names of the trials on the Pareto front, cheapest first."""
    marks: Mapping[str, float]
    """Values drawn as horizontal lines, by name: bicubic's and the teacher's."""

    def y_limits(self) -> tuple[float, float]:
        """Return the limits of the value axis: the front's and the marks' range, with margins.

        Trials below are cut off: a failed one would compress the front to a line.
        """
        of_front = [each.value for each in self.trials if each.trial in self.front]
        low, high = (end([*of_front, *self.marks.values()]) for end in (min, max))
        margin = _MARGIN * (high - low or 1.0)
        return low - margin, high + margin


def draw_pareto_plot(axes: Axes, plot: ParetoPlot, size: float) -> None:
    """Draw `plot` into `axes`, with letters of `size` points."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = plot.y_limits()
    by_name = {each.trial: each for each in plot.trials}
    front = [by_name[name] for name in plot.front]
    others = [each for each in plot.trials if each.trial not in plot.front and each.value >= low]
    axes.plot([d.cost for d in others], [d.value for d in others], "o", color=FAINT, alpha=0.6)
    axes.step([d.cost for d in front], [d.value for d in front], where="post", color=ACCENT)
    axes.plot([d.cost for d in front], [d.value for d in front], "o", color=ACCENT)
    for each in front:
        axes.annotate(
            each.trial, (each.cost, each.value), (5, 5), textcoords="offset points", fontsize=size
        )
    costs = [each.cost for each in (*front, *others)]
    if max(costs) >= _SPREAD * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: format_cost(plot.cost, cost)))
    for name, value in plot.marks.items():
        axes.axhline(value, color=INK, linewidth=1, linestyle="--")
        axes.annotate(name, (1, value), (-4, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=size)  # fmt: skip
    axes.set_ylim(low, high)
    axes.margins(x=0.06)
    below = sum(each.value < low for each in plot.trials)
    more = f"; {below} more below" if below else ""
    axes.set_xlabel(f"{plot.cost} (blue: no trial beats it at its cost{more})", fontsize=size)
    axes.set_ylabel(plot.value, fontsize=size)
    axes.tick_params(labelsize=size)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
