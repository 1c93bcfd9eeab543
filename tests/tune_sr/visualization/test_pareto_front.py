"""What is drawn of quality against cost, and that the panel has room for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tune_sr.visualization.panel import Tile, draw_panel
from tune_sr.visualization.pareto_front import ParetoPlot, TrialPoint, draw_pareto_plot

DOTS = (
    TrialPoint("0000", 28.0, 9000.0),
    TrialPoint("0001", 28.5, 15000.0),
    TrialPoint("0002", 27.9, 12000.0),
    TrialPoint("0003", 5.0, 300.0),
    TrialPoint("0004", 27.0, 1000.0),
)


def plot(
    trials: tuple[TrialPoint, ...] = DOTS, front: tuple[str, ...] = ("0004", "0000", "0001")
) -> ParetoPlot:
    return ParetoPlot("psnr_y_db", "params", trials, front, {"bicubic": 26.0, "teacher": 30.0})


def test_the_front_and_its_marks_fill_the_height_and_what_lies_below_is_counted() -> None:
    low, high = plot().y_limits()
    assert 25.0 < low < 26.0 and 30.0 < high < 31.0
    axes = Figure().add_subplot()
    draw_pareto_plot(axes, plot(), size=9)
    others, steps, trials, *_ = axes.get_lines()
    assert list(others.get_xdata()) == [12000.0]
    assert list(steps.get_xdata()) == list(trials.get_xdata()) == [1000.0, 9000.0, 15000.0]
    assert list(trials.get_ydata()) == [27.0, 28.0, 28.5]
    assert axes.get_xscale() == "log"
    assert "1 more below" in axes.get_xlabel()
    assert {"0004", "0000", "0001", "bicubic", "teacher"} == {
        each.get_text() for each in axes.texts
    }


@pytest.mark.parametrize("count", [1, 2])
def test_few_trials_of_one_cost_are_drawn_below_the_pictures(tmp_path: Path, count: int) -> None:
    tiles = [Tile(str(n), np.full((48, 48, 3), 40 * n, np.uint8), 30.0) for n in range(4)]
    heights = []
    trials = tuple(TrialPoint(f"{n:04d}", 28.0 - n, 1.5e6) for n in range(count))
    for name, drawn in (("without", None), ("with", plot(trials, ("0000",)))):
        draw_panel(tmp_path / f"{name}.png", tiles, title="a photograph, x2", plot=drawn)
        with Image.open(tmp_path / f"{name}.png") as image:
            page = np.asarray(image.convert("RGB"))
        heights.append(page.shape[0])
        assert page.shape[1] == 1600
        assert (page[:, :20] == 255).all() and (page[-4:] == 255).all()
    assert (page[heights[0] :] < 255).any()
    assert heights[1] > heights[0]
