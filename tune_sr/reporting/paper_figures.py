"""Figures for papers: the plots of a report by matplotlib, 85 mm wide with letters of 8 points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_sr.reporting.plots import best_so_far, parallel, rungs
from tune_sr.reporting.plots.front import front_of
from tune_sr.reporting.plots.learning_curves import floor_of
from tune_sr.reporting.plots.style import LIGHT, as_text, limits, short_number
from tune_sr.reporting.sections.settings import importance_of
from tune_sr.reporting.study_data import StudyData, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = Sequence[tuple[float, float]]

WIDTH_MM, POINTS = 85.0, 8.0
_MARKS = {"completed": "o", "stopped": "x", "failed": "v", "running": "D"}


def write_figures(data: StudyData, folder: Path) -> list[str]:
    """Write each figure that the study has data for, as PNG (300 dpi) and PDF; returns their names.

    Raises:
        OSError: they cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in _FIGURES.items():
        figure = Figure(figsize=(WIDTH_MM / 25.4, 0.72 * WIDTH_MM / 25.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if not draw(axes, data):
            continue
        _settle(axes)
        for ending, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            figure.savefig(folder / f"{name}.{ending}", dpi=300, metadata=metadata)
            figure.set_layout_engine("none")  # as it was laid out for the first file
        written.append(name)
    return written


def _settle(axes: Axes) -> None:
    """Letters of 8 points and thin lines, for every part of the axes."""
    axes.tick_params(labelsize=POINTS, width=0.6, length=2.5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(POINTS)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom") and spine.get_visible())
        spine.set_linewidth(0.6)


def _curves(axes: Axes, data: StudyData) -> bool:
    shown = [trial for trial in data.trials if trial.values]
    for state, own in _by_state(shown).items():
        lines = [list(zip(trial.steps, trial.values, strict=True)) for trial in own]
        _add_lines(axes, lines, color=LIGHT[state], linewidth=0.6, alpha=0.8)
    _add_ends(axes, [(trial.steps[-1], trial.values[-1], trial) for trial in shown])
    for step in data.rungs:
        axes.axvline(step, color=LIGHT["faint"], linewidth=0.5, linestyle=":")
    _draw_marks(axes, data)
    if data.best is not None:
        axes.plot(data.best.steps, data.best.values, color=LIGHT["accent"], linewidth=1.6)
    axes.set(xlabel="student updates", ylabel=_quality(data))
    if shown:
        every = [value for trial in shown for value in trial.values]
        axes.set_ylim(*limits(every, data.marks.values(), floor_of(data)))
    return bool(shown)


def _by_state(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.state, []).append(trial)
    return groups


def _add_lines(axes: Axes, lines: Sequence[Line], **style: Any) -> None:
    """Lines of one style, as one artist: of hundreds each would take milliseconds."""
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(lines, **style))
    axes.autoscale_view()


def _add_ends(axes: Axes, ends: Sequence[tuple[float, float, Trial]]) -> None:
    """A mark for each trial, of the shape and colour of its state."""
    for state, mark in _MARKS.items():
        own = [(x, y) for x, y, trial in ends if trial.state == state]
        if own:
            axes.plot([x for x, _ in own], [y for _, y in own], mark, color=LIGHT[state],
                      markersize=3, fillstyle="none")  # fmt: skip


def _gain(axes: Axes, data: StudyData) -> bool:
    found = best_so_far.progress(data)
    if not found.values:
        return False
    axes.step(found.updates, found.values, where="post", color=LIGHT["accent"], linewidth=1.4)
    if data.first is not None and data.first.score is not None:
        axes.axhline(data.first.score, color=LIGHT["faint"], linewidth=0.6, linestyle="--")
        _name(axes, data.first.score, "first point")
    axes.set(xlabel="student updates of all trials", ylabel=f"best {_quality(data)}")
    return True


def _importance(axes: Axes, data: StudyData) -> bool:
    found = importance_of(data)
    if found is None:
        return False
    bars = list(reversed(found.bars))
    shown = [max(0.0, bar.r2) for bar in bars]
    spread = [[max(0.0, v - max(0.0, bar.low)) for bar, v in zip(bars, shown, strict=True)],
              [max(0.0, bar.high - v) for bar, v in zip(bars, shown, strict=True)]]  # fmt: skip
    colours = [LIGHT["accent" if bar.r2 > found.chance else "faint"] for bar in bars]
    axes.axvspan(0, max(0.0, found.chance), color=LIGHT["band"], linewidth=0)
    axes.barh([data.short[bar.path] for bar in bars], shown, color=colours, height=0.5,
              xerr=spread, error_kw={"linewidth": 0.8})  # fmt: skip
    axes.set(xlabel="adjusted $R^2$ of ranks (grey: chance)")
    return True


def _parallel(axes: Axes, data: StudyData) -> bool:
    compared = sorted(
        ((trial, value) for trial, value in data.compared() if math.isfinite(value)),
        key=lambda each: each[1],
    )
    if len(compared) < parallel.FEWEST_TRIALS or len(data.dimensions) < 2:
        return False
    low, high = compared[0][1], compared[-1][1]
    lines: dict[bool, list[Line]] = {False: [], True: []}
    for rank, (trial, value) in enumerate(compared):
        heights = [parallel.height(axis, trial.point.get(axis.path)) for axis in data.dimensions]
        heights.append((value - low) / ((high - low) or 1.0))
        lines[rank >= 0.8 * len(compared)].append(list(enumerate(heights)))
    for best, group in lines.items():
        colour = LIGHT["accent" if best else "line"]
        _add_lines(axes, group, color=colour, linewidth=1.0 if best else 0.4)
    names = [*(data.short[axis.path] for axis in data.dimensions), "value"]
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    for place, axis in enumerate(data.dimensions):
        ends = axis.args if axis.distribution == "choice" else axis.args[:2]
        for value in ends:
            word = as_text(value) if axis.distribution == "choice" else short_number(float(value))
            axes.annotate(word, (place, parallel.height(axis, value)), (2, 0),
                          textcoords="offset points", fontsize=POINTS - 2)  # fmt: skip
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    return True


def _rungs(axes: Axes, data: StudyData) -> bool:
    done = rungs.finishers(data)
    if len(done) < 3 or not data.rungs:
        return False
    early = [trial.best_until(data.rungs[0]) for trial in done]
    axes.plot(early, [trial.best_until(trial.last_step) for trial in done], "o",
              color=LIGHT["completed"], markersize=3)  # fmt: skip
    axes.set(xlabel=f"best up to update {data.rungs[0]}, dB", ylabel="best up to the end, dB")
    return True


def _front(axes: Axes, data: StudyData) -> bool:
    shown = [(t.cost, t.score, t) for t in data.trials if t.score and t.cost]
    if data.results.cost is None or not shown:
        return False
    _add_ends(axes, shown)
    names = {trial.name for trial in front_of(data)}
    front = sorted((cost, score) for cost, score, trial in shown if trial.name in names)
    axes.step([cost for cost, _ in front], [score for _, score in front], where="post",
              color=LIGHT["accent"], linewidth=1.2)  # fmt: skip
    _draw_marks(axes, data)
    axes.set_xscale("log")
    axes.set(xlabel=data.results.cost, ylabel=_quality(data))
    axes.set_ylim(*limits([score for _, score, _ in shown], data.marks.values(), floor_of(data)))
    return True


def _draw_marks(axes: Axes, data: StudyData) -> None:
    for name, value in data.marks.items():
        axes.axhline(value, color=LIGHT["faint"], linewidth=0.6, linestyle="--")
        _name(axes, value, name)


def _name(axes: Axes, value: float, name: str) -> None:
    style: dict[str, Any] = {"fontsize": POINTS - 1, "color": LIGHT["faint"], "ha": "right"}
    written = axes.annotate(name, (1, value), (-2, 2), xycoords=("axes fraction", "data"),
                            textcoords="offset points", annotation_clip=True, **style)  # fmt: skip
    written.set_in_layout(False)  # its line may lie outside of the limits


def _quality(data: StudyData) -> str:
    return "PSNR, dB" if data.objective == "psnr_y_db" else "agreement, dB"


_FIGURES: dict[str, Callable[[Any, StudyData], bool]] = {
    "curves": _curves,
    "gain": _gain,
    "importance": _importance,
    "parallel": _parallel,
    "rungs": _rungs,
    "front": _front,
}
"""Each draws into axes and returns whether the study has the data for it."""
