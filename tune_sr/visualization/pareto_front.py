"""Quality against cost as a picture: every trial, and the front of those that none beats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tune_sr.cli.formatting import format_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, ACCENT = "#1d2129", "#6b7280", "#2563a8"
_SPREAD = 10.0
"""From which ratio of largest to smallest cost on the axis is logarithmic."""
_AIR = 0.08
"""Of the heights shown, left free above and below."""


class TrialPoint(NamedTuple):
    """One trial with a score."""

    trial: str
    value: float
    cost: float


@dataclass(frozen=True)
class ParetoPlot:
    """What is drawn of a study with two objectives."""

    value: str
    """The key of reports that is to be large."""
    cost: str
    """The key that is to be small."""
    trials: tuple[TrialPoint, ...]
    """At least one."""
    front: tuple[str, ...]
    """Trials that none beats at their cost, cheapest first."""
    marks: Mapping[str, float]
    """Values without a cost of their own: bicubic's, the teacher's."""

    def y_limits(self) -> tuple[float, float]:
        """The lowest and the highest value shown: the front and its marks, with air around them.

        A trial that went wrong lies below: it would press all that matters into a line.
        """
        of_front = [each.value for each in self.trials if each.trial in self.front]
        low, high = (end([*of_front, *self.marks.values()]) for end in (min, max))
        air = _AIR * (high - low or 1.0)
        return low - air, high + air


def draw_pareto_plot(axes: Axes, plot: ParetoPlot, size: float) -> None:
    """Draw `plot`; letters are of `size` points."""
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
