"""The plots of a study by name, as notebooks ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tune_sr.reporting.plots import (
    best_so_far,
    front,
    generator_change,
    importance,
    learning_curves,
    parallel,
    rungs,
    slices,
    timeline,
)
from tune_sr.reporting.sections.settings import importance_of
from tune_sr.reporting.study_data import StudyData

if TYPE_CHECKING:
    import plotly.graph_objects as go


def _importance(data: StudyData, update: int | None = None) -> go.Figure | None:
    found = importance_of(data, update)
    return None if found is None else importance.figure(found, data.short)


def _slices(data: StudyData, quantity: str) -> go.Figure | None:
    for dimension in data.dimensions:
        if quantity in (dimension.path, data.short[dimension.path]):
            return slices.figure(data, dimension)
    searched = ", ".join(data.short.values())
    raise ValueError(f"{quantity}: not searched; searched are {searched}")


PLOTS: dict[str, tuple[Callable[..., go.Figure | None], str]] = {
    "curves": (learning_curves.figure, "no trial has reported"),
    "best_so_far": (best_so_far.figure, "no trial has reported"),
    "slices": (_slices, "no two trials can be compared at one budget yet"),
    "importance": (_importance, "fewer than 16 trials, or than two quantities, cannot be ranked"),
    "parallel": (parallel.figure, "fewer than 12 comparable trials, or than two quantities"),
    "rungs": (rungs.figure, "fewer than three trials went on to the end, or there is no rung"),
    "front": (front.figure, "the study has one objective, or no trial has a score"),
    "timeline": (timeline.figure, "no trial has begun"),
    "generator_change": (generator_change.figure, "no method has a generator"),
}
"""By name: what makes it, and why there is none where it is None."""
