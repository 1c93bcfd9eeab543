"""What searching gained: the best value so far over updates, minutes and GPU hours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import LIGHT, horizontal, plain, rounded, with_selected
from tune_sr.reporting.study_data import StudyData


@dataclass(frozen=True)
class Progress:
    """The best score so far, at each report that raised it and at the last one."""

    values: list[float]
    """In dB."""
    trials: list[int]
    """The number of the trial that raised it."""
    updates: list[float]
    """Student updates that the study had done."""
    minutes: list[float]
    hours: list[float]
    """GPU hours; of trials without a GPU the hours that they ran."""


def progress(data: StudyData) -> Progress:
    """The best value so far of a study, its reports in the order of their time."""
    reports = sorted(
        (minute, trial.number, step, value)
        for trial in data.trials
        for minute, step, value in zip(trial.minutes, trial.steps, trial.values, strict=True)
    )
    held = sorted((span.start, span.end) for span in data.spans)
    share = data.gpus_per_trial or 1.0
    done: dict[int, int] = {}
    total, best = 0, -math.inf
    found = Progress([], [], [], [], [])
    for place, (minute, number, step, value) in enumerate(reports):
        total += max(0, step - done.get(number, 0))
        done[number] = max(step, done.get(number, 0))
        better = math.isfinite(value) and value > best
        if better or (place == len(reports) - 1 and math.isfinite(best)):
            best = max(best, value) if math.isfinite(value) else best
            found.values.append(best)
            found.trials.append(number if better else found.trials[-1])
            found.updates.append(total)
            found.minutes.append(round(minute, 2))
            found.hours.append(round(share * busy_until(held, minute) / 60, 4))
    return found


def busy_until(spans: Sequence[tuple[float, float]], minute: float) -> float:
    """Minutes that trials, all together, have run up to `minute`.

    >>> busy_until([(0.0, 2.0), (1.0, 5.0)], 3.0)
    4.0
    """
    return sum(max(0.0, min(end, minute) - start) for start, end in spans)


def figure(data: StudyData) -> go.Figure | None:
    """The steps of the best score so far, and the first point's final one; None without any."""
    found = progress(data)
    if not found.values:
        return None
    hours = "GPU hours" if data.gpus_per_trial else "hours of trials"
    made = plain("student updates of all trials", f"best {data.objective} so far", height=320)
    made.update_layout(meta={"titles": {"updates": "student updates of all trials",
                                        "minutes": "minutes", "hours": hours}})  # fmt: skip
    x = {"minutes": found.minutes, "hours": found.hours}
    made.add_scatter(
        x=found.updates, y=rounded(found.values, 3), customdata=found.trials,
        mode="lines+markers", line={"shape": "hv", "color": LIGHT["accent"], "width": 2.5},
        marker={"size": 7}, name="best so far", showlegend=False,
        meta={"x": x},
        hovertemplate="%{y:.2f} dB by trial %{customdata:04d}<extra></extra>",
    )  # fmt: skip
    if data.first is not None and data.first.score is not None:
        horizontal(made, data.first.score, f"first point's final {data.first.score:.2f}", "left")
        low = data.marks.get("bicubic", -math.inf)
        shown = [*found.values, data.first.score]
        high, least = max(shown), max(min(shown), low)
        margin = 0.1 * (high - least or 1.0)
        made.update_yaxes(range=[least - margin, high + margin])
    return with_selected(made, "markers")
