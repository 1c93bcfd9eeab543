"""`DistillTrainable`, its verbs called as Ray would; tests/tune_sr has it within Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainables.config import TrialConfig
from trainables.methods import METHODS
from trainables.ray_trainable import FAILED, HEARD, NOTES, REPORTED, TRIAL, DistillTrainable, Job
from trainables.run import Run, RunImages

Toy = Callable[..., dict[str, Any]]
Begin = Callable[..., DistillTrainable]
BUDGET = {"steps": 12, "steps_per_report": 4}


@pytest.fixture
def begin(toy: Toy, images: RunImages, tmp_path: Path) -> Begin:
    """`begin("dfsr", {"optimiser.lr": 0.1})`: a trainable as an actor of Ray holds it."""

    def make(
        method: str, point: Mapping[str, Any] | None = None, *, start: str = "start-001", **ray: Any
    ) -> DistillTrainable:
        def configure(given: Mapping[str, Any]) -> TrialConfig:
            raw = toy(method, budget=BUDGET, threads=None)  # type: ignore[arg-type]  # no section
            raw["optimiser"] = {path.partition(".")[2]: value for path, value in given.items()}
            return TrialConfig.parse(raw)

        trainable = DistillTrainable.__new__(DistillTrainable)
        job = Job(configure, tmp_path / "trials", start, threads=1, images=images)
        trainable.setup({TRIAL: "0000", **(point or {}), **ray}, job)
        return trainable

    return make


def told(result: Mapping[str, Any]) -> dict[str, float]:
    return {key: result[key] for key in result[REPORTED] if key != "seconds_per_step"}


def by_run(method: str, toy: Toy, images: RunImages, **sections: Any) -> list[dict[str, float]]:
    run = Run(TrialConfig.parse(toy(method, budget=BUDGET, **sections)), images=images)
    return [{k: v for k, v in each.items() if k != "seconds_per_step"} for each in run.reports()]


@pytest.mark.parametrize("method", METHODS)
def test_it_reports_what_run_reports_also_as_the_second_trial_of_a_process(
    method: str, begin: Begin, toy: Toy, images: RunImages
) -> None:
    trainable = begin(method)
    assert [told(trainable.step()) for _ in range(3)] == by_run(method, toy, images)
    assert trainable.reset_config({TRIAL: "0001", "optimiser.lr": 0.01})
    expected = by_run(method, toy, images, optimiser={"lr": 0.01})
    assert [told(trainable.step()) for _ in range(3)] == expected


def test_a_checkpoint_that_nobody_has_heard_of_is_told_first(begin: Begin) -> None:
    first = begin("noise")
    reports = [told(first.step()) for _ in range(2)]
    assert told(begin("noise", start="start-002", **{HEARD: 4}).step()) == reports[1]
    assert begin("noise", start="start-002", **{HEARD: 8}).step()["step"] == 12


def test_a_damaged_checkpoint_is_noted_and_the_one_before_is_used(
    begin: Begin, tmp_path: Path
) -> None:
    first = begin("noise")
    reports = [told(first.step()) for _ in range(2)]
    (tmp_path / "trials/start-001/0000/checkpoint_000008/run.pt").write_bytes(b"")
    again = begin("noise", start="start-002", **{HEARD: 4}).step()
    assert told(again) == reports[1]
    assert "checkpoint_000008 is damaged; an earlier one is used" in again[NOTES][0]


def test_divergence_and_mistakes_are_answers_not_crashes(begin: Begin) -> None:
    diverged = begin("noise", {"optimiser.lr": 1e30, "optimiser.clip": None}).step()
    assert diverged[FAILED].startswith("diverged at step ")
    assert REPORTED not in diverged
    invalid = begin("noise", {"optimiser.lr": -1.0}).step()
    assert "optimiser.lr" in invalid[FAILED] and "\n" not in invalid[FAILED]


def test_saved_and_loaded_elsewhere_it_goes_on_as_if_nothing_had_been(
    begin: Begin, toy: Toy, images: RunImages, tmp_path: Path
) -> None:
    first = begin("dfsr")
    reports = [told(first.step())]
    first.save_checkpoint(str(tmp_path / "saved"))
    other = begin("dfsr", **{TRIAL: "0007"})
    other.load_checkpoint(str(tmp_path / "saved"))
    reports += [told(other.step()) for _ in range(2)]
    assert reports == by_run("dfsr", toy, images)
