"""What a notebook sees of a study."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from events import (
    added,
    driver_started,
    ended,
    reported,
    started,
    study_started,
)

import tune_sr
from tune_sr.ledger.events import json_line
from tune_sr.ledger.reports import Judged
from tune_sr.study.space_file import load_study, to_resolved

MARKS = {"bicubic": {"psnr_y_db": 27.0, "ssim": 0.75}, "teacher": {"psnr_y_db": 31.0, "ssim": 0.9}}
FIRST = {"method.w_R": 1.0, "method.P": 2, "method.new_block_init": "random", "optimiser.lr": 0.01}
OTHER = {"method.w_R": 0.5, "method.P": 1, "optimiser.lr": 0.02}


def report(step: int, psnr: float, **more: float) -> dict[str, float]:
    return {"step": step, "psnr_y_db": psnr, "ssim": 0.8, **more}


@pytest.fixture
def folder(toy_space: Callable[..., Path], tmp_path: Path) -> Path:
    """Trial 0000 completed, 0001 stopped at 12, 0002 just added; an event each minute from 0."""
    space, settings = load_study(toy_space(first=[FIRST]))
    resolved = to_resolved(space, settings)
    told = [
        study_started(resolved, digests={}, marks=MARKS),
        driver_started(study=resolved["study"]),
        *(added(0, FIRST), started(0, "node3"), reported(0, 28, report(28, 28.5))),
        *(reported(0, 32, report(32, 28.25, generator_change=0.03)), ended(0)),
        *(added(1, OTHER), reported(1, 12, report(12, 27.5), "stop", Judged(27.5, 28.0, 2, 2))),
        *(ended(1, "stopped"), added(2, OTHER)),
    ]
    made = tmp_path / "runs" / "<toy>"
    made.mkdir(parents=True)
    lines = [json_line(each.to_dict(60.0 * minute)) for minute, each in enumerate(told)]
    (made / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    return made


def test_a_row_for_each_trial(folder: Path) -> None:
    frame = tune_sr.load_results(folder).trials_frame()
    assert list(frame.index) == ["0000", "0001", "0002"] and frame.index.name == "trial"
    quantities = ["w_R", "P", "new_block_init", "lr"]
    course = ["score", "last", "gain", "state", "stopped_at", "needed", "seconds", "node"]
    assert list(frame.columns) == [*quantities, *course]
    assert list(frame["w_R"]) == [1.0, 0.5, 0.5] and list(frame["P"]) == [2, 1, 1]
    assert list(frame["new_block_init"].cat.categories) == ["random", "near_identity"]
    assert list(frame["new_block_init"].isna()) == [False, True, True]
    assert frame.loc["0000", ["score", "last", "gain"]].tolist() == [28.5, 28.25, 1.5]
    assert frame.loc["0000", "node"] == "node3" and pd.isna(frame.loc["0000", "stopped_at"])
    assert frame.loc["0001", ["stopped_at", "needed"]].tolist() == [12, 28.0]
    assert list(frame["state"]) == ["completed", "stopped", "running"]
    assert pd.isna(frame.loc["0002", "score"]) and frame["score"].dtype == "float64"


def test_a_row_for_each_report(folder: Path) -> None:
    frame = tune_sr.load_results(str(folder)).curves_frame()
    assert list(frame.columns[:3]) == ["trial", "step", "minutes"]
    assert set(frame.columns[3:]) == {"psnr_y_db", "ssim", "generator_change"}
    assert list(frame["trial"]) == ["0000", "0000", "0001"]
    assert list(frame["step"]) == [28, 32, 12] and list(frame["minutes"]) == [3.0, 4.0, 7.0]
    assert list(frame["generator_change"].isna()) == [True, False, True]


def test_a_study_without_trials_has_empty_tables(folder: Path) -> None:
    lines = (folder / "ledger.jsonl").read_text().splitlines()[:2]
    (folder / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    study = tune_sr.load_results(folder)
    assert len(study.trials_frame()) == len(study.curves_frame()) == 0
    assert "score" in study.trials_frame() and "step" in study.curves_frame()


def test_one_line_the_closing_block_and_the_results_themselves(folder: Path) -> None:
    study = tune_sr.load_results(folder)
    trials = "3 trials (1 completed, 1 stopped, 1 running)"
    assert repr(study) == f"<study <toy>, not finished: {trials}, in {folder}>"
    block = study._repr_html_()
    assert (
        block.startswith("<pre>study &lt;toy&gt;, not finished: 3 trials") and "28.50 dB" in block
    )
    assert study.best.name == "0000" and study.summary()["best"]["psnr_y_db"] == 28.5
    assert {"best", "front", "trials_frame"} <= set(dir(study))
    assert not hasattr(study, "_ipython_display_") and not hasattr(study, "bset")
    for other in (copy.deepcopy(study), pickle.loads(pickle.dumps(study))):
        assert repr(other) == repr(study)


def test_loading_and_curves_need_no_torch(folder: Path) -> None:
    words = (
        "import json, sys, tune_sr; study = tune_sr.load_results(sys.argv[1]); repr(study); "
        "study.curves_frame(); print(json.dumps('torch' in sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", words, folder], capture_output=True, text=True, check=True
    )
    assert json.loads(told.stdout) is False


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no study"):
        tune_sr.load_results(tmp_path)
