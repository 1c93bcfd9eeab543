from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from trainables.networks.loading import load_network
from trainables.run import Run
from tune_sr.driver.run_study import run_study
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events
from tune_sr.results.results import Results
from tune_sr.results.summary_text import summary_text
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study, read_resolved

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("ray_cluster", "untracked"),
]
SIZES: dict[str, Any] = {
    "fixed": {"student": {"name": "vdsr", "scales": [2]}},
    "search": {"student.blocks": {"choice": [2, 4, 6]}, "student.features": {"choice": [2, 4, 8]}},
    "first": [],
    "study": {"objective": ["psnr_y_db", "params"]},
}
"""What makes of the toy space one whose student's size is searched."""
WITHOUT_A_PICTURE: dict[str, Any] = {
    "fixed": {"heldout": None, "budget": {"steps": 8, "steps_per_report": 4}},
    "study": {"objective": "teacher_agreement", "scheduler": "none"},
}
"""What makes of it one that has no held-out image either."""
Configure = Callable[..., StudyConfig]


@pytest.fixture
def study(toy_space: Callable[..., Path], tmp_path: Path) -> Configure:
    """`study(trials=6, fixed={...})`: a toy study in a folder of its own."""

    def make(trials: int = 6, **changes: Any) -> StudyConfig:
        flags = {"trials": trials, **changes.pop("flags", {})}
        space, settings = load_study(toy_space(**changes))
        settings = settings.with_overrides(flags, space)
        return StudyConfig(space, settings, tmp_path / "runs" / "toy")

    return make


def of_kind(events: list[Event], kind: str, **fields: Any) -> list[Event]:
    return [event for event in events if event["event"] == kind and fields.items() <= event.items()]


def reports(events: list[Event], trial: str) -> list[dict[str, float]]:
    """The reports of a trial by step, each once, without what a clock measured."""
    by_step: dict[int, dict[str, float]] = {}
    for event in of_kind(events, "reported", trial=trial):
        told = {key: value for key, value in event["report"].items() if key != "seconds_per_step"}
        by_step.setdefault(event["step"], told)
    return [by_step[step] for step in sorted(by_step)]


def by_run(config: StudyConfig, events: list[Event], trial: str) -> list[dict[str, float]]:
    """The reports that `Run` gives at the point of a trial, as many as the trial made."""
    point = of_kind(events, "trial_added", trial=trial)[0]["point"]
    run = Run(config.trial_config(point).model_copy(update={"threads": 1}))
    count = len(reports(events, trial))
    told = (next_report for next_report, _ in zip(run.reports(), range(count), strict=False))
    return [{k: v for k, v in each.items() if k != "seconds_per_step"} for each in told]


def test_a_study_from_its_first_event_to_its_last(study: Configure) -> None:
    config = study()
    results = run_study(config, quiet=True)
    assert ray.is_initialized()  # it was running before
    events = read_events(config.folder)
    assert [event["event"] for event in events[:3]] == [
        "study_started",
        "driver_started",
        "trial_added",
    ]
    assert events[-1]["event"] == "study_ended" and events[-1]["finished"] is True
    added = of_kind(events, "trial_added")
    assert [event["trial"] for event in added] == [f"{number:04d}" for number in range(6)]
    assert added[0]["point"] == config.space.first_points[0]
    assert len(of_kind(events, "trial_ended")) == 6
    assert {each["state"] for each in of_kind(events, "trial_ended")} == {"completed", "stopped"}
    check_reports_are_those_of_run(config, events)
    check_files(config, results)


def check_reports_are_those_of_run(config: StudyConfig, events: list[Event]) -> None:
    """DistillTrainable gives what `Run` gives, also in a process that trained others before."""
    for trial in ("0000", "0001", "0002"):
        assert reports(events, trial) == by_run(config, events, trial)


def check_files(config: StudyConfig, results: Results) -> None:
    folder = config.folder
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["finished"] and summary["trials"]["total"] == 6
    assert summary["best"]["trial"] == results.best.name
    assert read_resolved((folder / "space.yaml").read_text()) is not None
    made_by = json.loads((folder / "study.json").read_text())
    assert {"seed", "argv", "git", "packages", "devices", "version"} <= set(made_by)
    assert made_by["devices"]["threads"] == 1
    assert {path.name for path in (folder / "best").iterdir()} == {
        "student.safetensors",
        "config.yaml",
        "panel.png",
    }
    for trial in (folder / "trials" / "start-001").glob("0*"):
        kept = [path.name for path in trial.glob("checkpoint_*")]
        assert 1 <= len(kept) <= 3
    assert not (folder / "driver.lock").exists()


def test_a_finished_study_is_extended_to_what_a_longer_one_is(
    study: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = study(trials=3, **SIZES)
    run_study(config, quiet=True)
    before = (config.folder / "ledger.jsonl").read_bytes()
    run_study(config, quiet=True)  # nothing to do: not a line more
    assert (config.folder / "ledger.jsonl").read_bytes() == before

    made_by = json.loads((config.folder / "study.json").read_text())
    made_by["devices"]["processor"] = "Another"
    (config.folder / "study.json").write_text(json.dumps(made_by))
    longer = study(trials=7, **SIZES)
    results = run_study(longer, quiet=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "may differ" in line]
    assert len(said) == 1 and said[0].startswith("warning: another machine than the last start's")
    after = (config.folder / "ledger.jsonl").read_bytes()
    assert after.startswith(before)
    events = read_events(config.folder)
    assert len(of_kind(events, "trial_ended")) == 7 and not of_kind(events, "attempt")
    assert results.summary()["trials"]["total"] == 7 and results.summary()["finished"]

    whole = StudyConfig(longer.space, longer.settings, tmp_path / "runs" / "whole")
    run_study(whole, quiet=True)
    points = [
        [each["point"] for each in of_kind(read_events(folder), "trial_added")]
        for folder in (config.folder, whole.folder)
    ]
    assert points[0] == points[1]
    check_front(config.folder, results)


def check_front(folder: Path, results: Results) -> None:
    """Its students lie in `front/`, each as large as its report says; nothing else does."""
    front = results.summary()["front"]
    assert [path.name for path in sorted((folder / "front").iterdir())] == sorted(
        each["trial"] for each in front
    )
    for each in front:
        student = load_network(folder / "front" / each["trial"] / "student.safetensors")
        assert sum(parameter.numel() for parameter in student.parameters()) == each["params"]
    assert front[-1]["trial"] == results.summary()["best"]["trial"]


def test_two_at_a_time_none_is_lost_or_doubled(study: Configure) -> None:
    config = study(trials=5, study={"concurrent": 2})
    run_study(config, quiet=True)
    events = read_events(config.folder)
    assert len(of_kind(events, "trial_added")) == len(of_kind(events, "trial_ended")) == 5
    for trial in {event["trial"] for event in of_kind(events, "trial_added")}:
        assert reports(events, trial) == by_run(config, events, trial)
        assert len(of_kind(events, "reported", trial=trial)) == len(reports(events, trial))


def test_hours_end_a_study_and_more_hours_go_on_with_it(study: Configure) -> None:
    config = study(trials=2, flags={"hours": 1e-6})
    results = run_study(config, quiet=True)
    assert results.summary()["finished"]
    events = read_events(config.folder)
    assert len(of_kind(events, "trial_ended")) == 0
    run_study(config, quiet=True)  # its time is spent
    assert read_events(config.folder) == events

    results = run_study(study(trials=2, flags={"hours": 1.0}), quiet=True)
    longer = read_events(config.folder)
    assert longer[: len(events)] == events
    assert len(of_kind(longer, "trial_ended")) == 2 and results.summary()["finished"]
    assert longer[-1]["event"] == "study_ended"


def test_a_study_without_a_picture_is_judged_by_its_teacher(study: Configure) -> None:
    config = study(trials=1, **WITHOUT_A_PICTURE)
    check_judged_by_teacher(config, run_study(config, quiet=True))


def check_judged_by_teacher(config: StudyConfig, results: Results) -> None:
    """Its figures are called what they are, wherever they are told."""
    summary = results.summary()
    assert summary["objective"] == summary["protocol"] == "teacher_agreement"
    assert summary["teacher"] is None
    for figures in (summary["best"], summary["bicubic"]):
        assert math.isfinite(figures["teacher_agreement_db"])
        assert not {"psnr_y_db", "ssim"} & set(figures)
    assert " dB to the teacher" in summary_text(config, results)
    assert " dB over bicubic" in summary_text(config, results)
    assert (config.folder / "best" / "panel.png").is_file()
