"""What `search` says at a study's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from events import added, as_read, driver_started, ended, reported, study_ended, study_started

from tune_sr.ledger.events import NewEvent
from tune_sr.ledger.history import History
from tune_sr.ledger.reports import Judged
from tune_sr.results.results import Results
from tune_sr.results.summary_text import stopped_lines, summary_text
from tune_sr.results.trials_table import trials_table
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

MARKS = {
    "bicubic": {"psnr_y_db": 27.0, "ssim": 0.75},
    "teacher": {"psnr_y_db": 31.0, "ssim": 0.9},
}
POINT = {"method.w_R": 0.5, "method.P": 1, "optimiser.lr": 0.0123456}
FIRST = {"method.w_R": 1.0, "method.P": 1, "optimiser.lr": 0.01}
Study = Callable[..., tuple[StudyConfig, Results]]


@pytest.fixture
def study(toy_space: Callable[..., Path], tmp_path: Path) -> Study:
    """A study of the toy space from its events, a second apart."""
    path = toy_space(first=[FIRST])

    def make(*events: NewEvent, marks: Any = MARKS, view: str | None = None) -> Any:
        space, settings = load_study(path)
        told = [study_started(marks=marks), driver_started(), *events]
        history = History.from_events(as_read(each, float(n)) for n, each in enumerate(told))
        config = StudyConfig(space, settings, tmp_path / "runs" / "toy")
        return config, Results(config.folder, space, settings, history, view)

    return make


def trial(
    number: int, values: Mapping[int, float], state: Any = "completed", **more: Any
) -> list[NewEvent]:
    caveat, judged, change = (more.get(key) for key in ("caveat", "judged", "change"))
    events: list[NewEvent] = [added(number, POINT if number else FIRST, caveat)]
    for step, value in values.items():
        report = {"psnr_y_db": value, "ssim": 0.8}
        report |= {} if change is None else {"generator_change": change}
        last = step == max(values)
        decision: Any = "stop" if last and state == "stopped" else "continue"
        events.append(reported(number, step, report, decision, judged if last else None))
    return [*events, ended(number, state, more.get("reason"))]


def told(made: tuple[StudyConfig, Results]) -> list[str]:
    return summary_text(*made).splitlines()


def test_scores_without_ssim_are_shown_without_it(study: Study) -> None:
    best = [added(1, POINT), reported(1, 32, 28.0, "complete"), ended(1)]
    marks = {"bicubic": {"psnr_y_db": 27.0}, "teacher": None}
    lines = told(study(*trial(0, {32: 27.5}), *best, study_ended(), marks=marks))
    assert lines[1:4] == [
        "  bicubic        27.00 dB",
        "  paper's point  27.50 dB  0.8000  +0.50 dB over bicubic",
        "  best, 0001     28.00 dB  +1.00 dB over bicubic",
    ]


def test_the_block_of_a_finished_study(study: Study, tmp_path: Path) -> None:
    events = [
        *trial(0, {16: 27.4, 28: 27.5, 32: 27.45}),
        *trial(1, {16: 27.9, 28: 28.0, 32: 27.95}, change=0.008),
        *trial(2, {12: 27.1}, "stopped", judged=Judged(27.1, 27.9, 3, 3)),
        *trial(3, {}, "failed", reason="diverged at step 7: loss is not finite"),
        study_ended(),
    ]
    view = "http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=tune_sr-toy"
    lines = told(study(*events, view=view))
    folder = tmp_path / "runs" / "toy"
    assert lines[:9] == [
        "study toy, finished: 4 trials (2 completed, 1 stopped, 1 failed), 0:16, "
        "76 of 128 student updates",
        "  bicubic        27.00 dB  0.7500",
        "  paper's point  27.50 dB  0.8000  +0.50 dB over bicubic, 12 % of the teacher's gain",
        "  best, 0001     28.00 dB  0.8000  +1.00 dB over bicubic, 25 % of the teacher's gain",
        "  teacher        31.00 dB  0.9000  +4.00 dB over bicubic",
        "best over the paper's point: +0.50 dB, not confirmed yet: one seed, best of 3; "
        "--confirm 5 retrains both, about 40 s",
        "stopped: 0002 at 12 (27.10; needed 27.90)",
        "failed: 1 diverged",
        "imagined: the best trial's generator moved by 0.8 %: as good as untrained",
    ]
    assert lines[9:14] == [
        "  trial     state      updates     dB   gain   last  w_R  P  new_block_init       lr",
        "  0001   ●  completed    32/32  28.00  +1.00  27.95  0.5  1               -  0.01235",
        "  0000      completed    32/32  27.50  +0.50  27.45    1  1               -     0.01",
        "  0002      stopped      12/32  27.10  +0.10  27.10  0.5  1               -  0.01235",
        "  0003      failed        0/32                       0.5  1               -  0.01235",
    ]
    assert lines[14] == f"results:  {folder}"
    use = f"use it:   python -m tune_sr.upscale PHOTO --network {folder}"
    assert lines[15] == use
    assert lines[16].startswith(f"measure:  python -m tune_sr.evaluate --network {folder}/best/")
    assert lines[17].startswith("curves:   mlflow ui --workers 1 --backend-store-uri sqlite:")
    assert lines[18].split() == [view] and len(lines) == 19


def test_a_gain_of_less_than_three_wobbles_is_none(study: Study) -> None:
    events = [*trial(0, {28: 27.5, 32: 27.6}), *trial(1, {28: 27.5, 32: 27.65})]
    assert next(line for line in told(study(*events)) if line.startswith("best over")).startswith(
        "best over the paper's point: +0.05 dB, not shown to be a gain "
        "(a curve moves by 0.12 between reports); --confirm 5 retrains both, about "
    )


def test_a_study_without_a_better_trial_or_without_any(study: Study) -> None:
    alone = told(study(*trial(0, {32: 27.5})))
    assert "the paper's point is the best of 1" in alone
    failed = told(study(*trial(0, {}, "failed"), *trial(1, {32: 27.5})))
    assert not any(line.startswith("the paper's point") for line in failed[1:3])
    nothing = told(study(*trial(0, {}, "failed", reason="diverged: x"), marks={"bicubic": None}))
    assert "failed: 1 diverged" in nothing
    assert nothing[0].startswith("study toy, not finished: 1 trials (1 failed)")
    assert not any("measure:" in line or "best" in line for line in nothing)


def test_a_generator_that_moved_is_not_called_untrained(study: Study) -> None:
    lines = told(study(*trial(0, {32: 27.5}, change=0.055)))
    assert "imagined: the best trial's generator moved by 5.5 %" in lines


def test_many_stopped_trials_take_one_line() -> None:
    judged = [Judged(30 + number / 10, 31.5 + number / 10, 2, 3) for number in range(5)]
    rung = [(f"{number:04d}", each) for number, each in enumerate(judged)]
    rungs: Any = {30: rung, 90: rung[:2], 180: [("0009", None)], 270: rung[:3], 300: rung[:1]}
    assert stopped_lines(rungs) == [
        "stopped: 5 trials at 30 (30.00 .. 30.40; needed 31.50 .. 31.90); "
        "0000, 0001 at 90 (30.00, 30.10; needed 31.50, 31.60); 0009 at 180; 4 later"
    ]
    assert stopped_lines({}) == []


def test_a_long_table_ends_with_a_count_and_keeps_the_first_point(study: Study) -> None:
    events = [*trial(0, {32: 27.1})]
    for number in range(1, 20):
        events += trial(number, {32: 28.0 + number / 10})
    lines = trials_table(study(*events)[1], rows=5)
    assert [line.split()[0] for line in lines] == ["trial", "0019", "0018", "0017", "0016", "0000",
                                                   "and"]  # fmt: skip
    assert lines[-1] == "and 15 more in results.csv"


def test_without_photographs_no_gain_is_shown(study: Study) -> None:
    head = trials_table(study(*trial(0, {32: 27.5}), marks={"bicubic": None})[1])[0]
    assert "gain" not in head and "last" in head


@pytest.mark.parametrize(
    ("first", "best", "marks", "notes"),
    [
        (None, "one thing", ("27.50 dB", "28.00* dB"), ["  * one thing"]),
        ("another", "one thing", ("27.50* dB", "28.00** dB"), ["  * another", "  ** one thing"]),
    ],
)
def test_a_caveat_is_a_footnote_of_the_scores(
    first: str | None, best: str, marks: tuple[str, ...], notes: list[str], study: Study
) -> None:
    events = [*trial(0, {32: 27.5}, caveat=first), *trial(1, {32: 28.0}, caveat=best)]
    lines = told(study(*events))
    figures = [line for line in lines if line.startswith(("  paper", "  best"))]
    assert all(mark in line for mark, line in zip(marks, figures, strict=True))
    after = next(n for n, line in enumerate(lines) if line.startswith("best over"))
    assert lines[after - len(notes) : after] == notes
