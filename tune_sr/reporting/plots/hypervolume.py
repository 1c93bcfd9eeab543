"""What searching gained with two objectives: the front's hypervolume over student updates."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import plotly.graph_objects as go

from tune_sr.reporting.plots.style import LIGHT, plain
from tune_sr.reporting.study_data import StudyData

Point = tuple[float, float]
"""Score in dB, and cost."""


def volume(front: Sequence[Point], data: StudyData) -> float | None:
    """The area between a front, bicubic's score and the dearest cost of any trial; None without.

    Args:
        front: cheapest first, each better than the one before.
        data: the study.
    """
    reference, dearest = data.marks.get("bicubic"), _dearest(data)
    if reference is None or dearest is None or not front:
        return None
    return area(front, reference, dearest)


def area(front: Sequence[Point], reference: float, dearest: float) -> float:
    """The area above `reference` and up to the cost `dearest` that a front dominates.

    >>> area([(28.0, 1.0), (30.0, 3.0)], reference=27.0, dearest=5.0)
    8.0
    """
    ends = [cost for _, cost in front[1:]] + [dearest]
    return sum(
        max(0.0, score - reference) * (end - cost)
        for (score, cost), end in zip(front, ends, strict=True)
    )


def with_point(front: list[Point], point: Point) -> bool:
    """Put a point into a front, cheapest first, unless one of it is as good; whether it was put.

    >>> front = [(28.0, 1.0), (30.0, 3.0)]
    >>> with_point(front, (29.0, 4.0)), with_point(front, (31.0, 2.0)), front
    (False, True, [(28.0, 1.0), (31.0, 2.0)])
    """
    score, cost = point
    place = bisect.bisect_right(front, cost, key=lambda each: each[1])
    if place and front[place - 1][0] >= score:
        return False
    end = place
    while end < len(front) and front[end][0] <= score:
        end += 1
    start = place - 1 if place and front[place - 1][1] == cost else place
    front[start:end] = [point]
    return True


def over_updates(data: StudyData) -> tuple[list[int], list[float]]:
    """Updates of all students, and the hypervolume at each report that raised it.

    A trial counts by what it had reported by then, from its student's last growth on, as its score
    does: the last value is the volume of the front.
    """
    reference, dearest = data.marks.get("bicubic"), _dearest(data)
    if reference is None or dearest is None:
        return [], []
    reports = sorted(
        (minute, trial.number, step, value, trial.cost)
        for trial in data.trials
        if trial.cost is not None and trial.score is not None
        for minute, step, value in zip(trial.minutes, trial.steps, trial.values, strict=True)
        if step > max(trial.growths, default=0)
    )
    done = dict.fromkeys((number for _, number, *_ in reports), 0)
    front: list[Point] = []
    updates: list[int] = []
    volumes: list[float] = []
    total = 0
    for place, (_, number, step, value, cost) in enumerate(reports):
        total += max(0, step - done[number])
        done[number] = max(step, done[number])
        raised = math.isfinite(value) and with_point(front, (value, cost))
        if raised or (volumes and place == len(reports) - 1):
            updates.append(total)
            volumes.append(area(front, reference, dearest))
    return updates, volumes


def figure(data: StudyData) -> go.Figure | None:
    """The steps of the hypervolume; None without bicubic, or before a report counts."""
    updates, volumes = over_updates(data)
    if not updates:
        return None
    made = plain("student updates of all trials", "hypervolume, dB x cost", height=260)
    made.add_scatter(
        x=updates, y=[float(f"{value:.4g}") for value in volumes], mode="lines+markers",
        line={"shape": "hv", "color": LIGHT["accent"], "width": 2.5}, marker={"size": 6},
        name="hypervolume", showlegend=False, hovertemplate="%{x}: %{y:.4g}<extra></extra>",
    )  # fmt: skip
    made.update_yaxes(rangemode="tozero")
    return made


def _dearest(data: StudyData) -> float | None:
    return max((trial.cost for trial in data.trials if trial.cost is not None), default=None)
