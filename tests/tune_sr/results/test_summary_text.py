"""What `search` says at a study's end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tune_sr.results.summary_text import summary_text
from tune_sr.study.settings import StudySettings


def told(folder: Path, first: dict[str, Any] | None, best: dict[str, Any]) -> list[str]:
    def described(psnr_y_db: float, **more: Any) -> dict[str, Any]:
        return {"trial": "0007", "psnr_y_db": psnr_y_db, "ssim": 0.8, "step": 60, **more}

    summary = {
        "bicubic": {"psnr_y_db": 27.0, "ssim": 0.75},
        "teacher": {"psnr_y_db": 31.0, "ssim": 0.9},
        "first": None if first is None else described(27.5, config={}, **first),
        "best": described(28.0, config={"method.name": "csd"}, **best),
        "trials": {"total": 2, "completed": 1, "stopped": 1, "failed": 0},
        "seconds": 12.0,
    }
    config: Any = SimpleNamespace(settings=StudySettings(), folder=folder / "toy")
    results: Any = SimpleNamespace(summary=lambda: summary)
    return summary_text(config, results).splitlines()


def test_the_table_holds_the_best_against_bicubic_teacher_and_first(tmp_path: Path) -> None:
    assert told(tmp_path, {}, {})[:7] == [
        "2 trials: 1 completed, 1 stopped, 0 failed; 12 s",
        "  bicubic     27.00 dB  ssim 0.7500",
        "  teacher     31.00 dB  ssim 0.9000  +4.00 dB over bicubic",
        "  first point 27.50 dB  ssim 0.8000  +0.50 dB over bicubic, 12 % of the teacher's gain",
        "  best trial  28.00 dB  ssim 0.8000  +1.00 dB over bicubic, 25 % of the teacher's gain",
        "trial 0007, step 60:",
        "  method.name = csd",
    ]


@pytest.mark.parametrize(
    ("first", "best", "marks", "notes"),
    [
        (None, {"caveat": "one thing"}, ("28.00* dB",), ["  * one thing"]),
        ({}, {"caveat": "one thing"}, ("27.50 dB", "28.00* dB"), ["  * one thing"]),
        (
            {"caveat": "another"},
            {"caveat": "one thing"},
            ("27.50* dB", "28.00** dB"),
            ["  * another", "  ** one thing"],
        ),
    ],
)
def test_a_caveat_is_a_footnote_of_the_table(
    first: dict[str, Any] | None,
    best: dict[str, Any],
    marks: tuple[str, ...],
    notes: list[str],
    tmp_path: Path,
) -> None:
    lines = told(tmp_path, first, best)
    figures = [line for line in lines if line.startswith(("  first", "  best"))]
    assert all(mark in line for mark, line in zip(marks, figures, strict=True))
    assert lines[lines.index(figures[-1]) + 1 : lines.index("trial 0007, step 60:")] == notes
