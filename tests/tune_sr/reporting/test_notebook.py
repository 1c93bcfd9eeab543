"""A notebook draws the page's own figures, and loads neither torch nor plotly before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import tune_sr
from tune_sr.reporting.named_plots import PLOTS
from tune_sr.reporting.report import sections_of
from tune_sr.reporting.study_data import StudyData


def test_plots_are_those_of_the_page(invent):
    folder = invent("whole")
    study = tune_sr.load_results(folder)
    made = {}
    for section in sections_of(StudyData.load(folder)):
        made |= section.figures
    pages = {"curves": "curves", "importance": "importance", "parallel": "parallel",
             "generator_change": "generator-change", "rungs": "rungs"}  # fmt: skip
    for name, figure in pages.items():
        assert study.plot(name).to_plotly_json() == made[figure].to_plotly_json(), name
        assert getattr(study.plot, name)().to_plotly_json() == made[figure].to_plotly_json()
    by_path, by_name = study.plot.slices("method.w_R"), study.plot("slices", quantity="w_R")
    assert by_path.to_plotly_json() == by_name.to_plotly_json()
    assert set(study.plot) == set(PLOTS) and all(hasattr(study.plot, name) for name in PLOTS)
    for name in ("best_so_far", "timeline"):
        assert study.plot(name).data


def test_what_cannot_be_drawn_says_why(invent):
    plot = tune_sr.load_results(invent("one trial")).plot
    for name, why in (("importance", "fewer than 16 trials"), ("front", "one objective")):
        with pytest.raises(ValueError, match=f"{name}: nothing to draw: .*{why}"):
            plot(name)
    with pytest.raises(ValueError, match="curve: no plot; there are curves"):
        plot("curve")
    with pytest.raises(ValueError, match="nothing: not searched; searched are"):
        plot.slices("nothing")


def test_loading_imports_neither_torch_nor_plotly(invent):
    words = (
        "import json, sys, tune_sr; study = tune_sr.load_results(sys.argv[1]); repr(study); "
        "print(json.dumps([m for m in ('torch', 'plotly', 'optuna') if m in sys.modules]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", words, invent("one trial")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout) == []
