"""One study in which everything goes wrong that can go wrong with a trial."""

from __future__ import annotations

import csv
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray.cloudpickle
import torch
from torch import Tensor

from trainables import saved_run
from trainables.checkpoints import STATE, find_checkpoints, write_checkpoint
from trainables.ray_trainable import REPORT, DistillTrainable
from trainables.run import Run
from trainables.saved_run import SavedRun
from trainables.values import Report
from tune_sr.driver.run_study import run_study
from tune_sr.execution import watchdog
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.ledger.events import Event
from tune_sr.ledger.ledger import read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.usefixtures("ray_cluster")]

NOT_A_NUMBER, INFINITE, RAISES, FITS_IN_HALF, NEVER_FITS, HANGS, KILLED_EARLY, KILLED, NO_ROOM = (
    f"{number:04d}" for number in range(1, 10)
)
STEPS, EVERY, AT = 16, 4, 8
"""Updates of a trial, in a report, and after which things go wrong."""
NO_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Faulty(DistillTrainable):
    """A trial that fails in the way that its name stands for."""

    def _open(self) -> SavedRun:
        if self._trial == KILLED_EARLY:
            self._die_once()
        saved = super()._open()
        step = saved.run.method.step
        full = self._trial == NO_ROOM
        saved_run.write_checkpoint = no_checkpoint if full else write_checkpoint

        def goes_wrong(batch: Any) -> dict[str, Tensor]:
            losses = step(batch)
            return losses if saved.run.step < AT else self._wrong(saved.run, losses)

        saved.run.method.step = goes_wrong  # type: ignore[method-assign]  # the fault itself
        return saved

    def _report(self) -> Report:
        if self._trial == KILLED and self._saved is not None and self._saved.run.step == AT:
            newest = find_checkpoints([self._job.trials / self._job.start / self._trial])[0]
            os.truncate(newest.folder / STATE, 99)
            self._die_once()
        return super()._report()

    def _wrong(self, run: Run, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._trial in (NOT_A_NUMBER, INFINITE):
            bad = torch.tensor(float("nan" if self._trial == NOT_A_NUMBER else "inf"))
            return dict.fromkeys(losses, bad)
        if self._trial == RAISES:
            raise OSError("the teacher's file is gone")
        if self._trial == NEVER_FITS or (
            self._trial == FITS_IN_HALF and not run.student.micro_batch
        ):
            raise torch.OutOfMemoryError(NO_MEMORY)
        if self._trial == HANGS:
            time.sleep(1e6)
        return losses

    def _die_once(self) -> None:
        died = self._job.trials / f"{self._trial} has died"
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def no_checkpoint(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def config(toy_space: Callable[..., Path], tmp_path: Path) -> StudyConfig:
    """Twelve trials, one after the other, that nobody stops."""
    budget = {"steps": STEPS, "steps_per_report": EVERY}
    study = {"trials": 12, "scheduler": "none", "searcher": "random"}
    study = load_study(toy_space("faults", fixed={"budget": budget}, study=study))
    return StudyConfig(*study, tmp_path / "runs" / "faults")


@pytest.fixture
def everything_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are `Faulty`, and of the one that hangs nobody is patient."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr("tune_sr.execution.tuner.DistillTrainable", Faulty)
    original = LedgerScheduler.on_trial_result

    def impatient(self: Any, controller: Any, trial: Any, result: Any) -> str:
        decision = original(self, controller, trial, result)
        told = dict(result.get(REPORT, ()))
        hangs = (trial.config["trial"], told.get("step")) == (HANGS, AT)
        monkeypatch.setattr(watchdog, "LEAST_S", 1.0 if hangs else 600.0)
        monkeypatch.setattr(watchdog, "FACTOR", 0.0)
        return decision

    monkeypatch.setattr(LedgerScheduler, "on_trial_result", impatient)


ENDS = {
    NOT_A_NUMBER: ("failed", r"diverged at step 9: loss/kd is not finite"),
    INFINITE: ("failed", r"diverged at step 9: loss/kd is not finite"),
    RAISES: ("failed", r"OSError: the teacher's file is gone"),
    FITS_IN_HALF: ("completed", ""),
    NEVER_FITS: (
        "failed",
        rf"out of memory: {NO_MEMORY}; with 1 of 2 images at a time: .* may fit",
    ),
    HANGS: ("failed", r"no report for \d+ s"),
}
ATTEMPTS = {
    FITS_IN_HALF: rf"out of memory: {NO_MEMORY}; again with 1 of 2 images at a time",
    NEVER_FITS: rf"out of memory: {NO_MEMORY}; again with 1 of 2 images at a time",
    KILLED_EARLY: "its process was lost",
    KILLED: "its process was lost",
}


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


@pytest.mark.usefixtures("everything_goes_wrong")
def test_each_trial_ends_as_it_must_and_the_ledger_mlflow_and_the_tables_say_why(
    config: StudyConfig, toy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run_study(config)
    events = read_events(config.folder)
    ends = {e["trial"]: (e["state"], e["reason"] or "") for e in of_kind(events, "trial_ended")}
    assert list(ends) == sorted(ends) and len(ends) == len(of_kind(events, "trial_ended")) == 12
    for trial, (state, reason) in ends.items():
        expected, pattern = ENDS.get(trial, ("completed", ""))
        assert state == expected and re.fullmatch(pattern, reason), (trial, state, reason)
    attempts = {event["trial"]: event["reason"] for event in of_kind(events, "attempt")}
    assert list(attempts) == list(ATTEMPTS) and len(of_kind(events, "attempt")) == len(ATTEMPTS)
    assert all(re.fullmatch(ATTEMPTS[trial], reason) for trial, reason in attempts.items())
    assert events[-1]["finished"] is True
    assert results.best is not None and ends[results.best.name][0] == "completed"
    check_reports(config, events)
    check_tables(config, ends, capsys.readouterr().out)
    check_mlflow(toy_folder, ends)


def check_reports(config: StudyConfig, events: list[Event]) -> None:
    """What was trained twice came out as it would have at once; half a batch at a time, nearly."""
    for trial in (FITS_IN_HALF, KILLED_EARLY, KILLED):
        told = [e["report"] for e in of_kind(events, "reported") if e["trial"] == trial]
        point = next(e["point"] for e in of_kind(events, "trial_added") if e["trial"] == trial)
        run = Run(config.trial_config(point).model_copy(update={"threads": 1}))
        repeated = trial == KILLED  # the checkpoint of its last report was damaged
        assert len(told) == STEPS // EVERY + repeated
        by_step = {report["step"]: report["psnr_y_db"] for report in told}
        whole = {report["step"]: report["psnr_y_db"] for report in run.reports()}
        assert by_step == (pytest.approx(whole, abs=1e-3) if trial == FITS_IN_HALF else whole)


def check_tables(config: StudyConfig, ends: dict[str, tuple[str, str]], told: str) -> None:
    with (config.folder / "results.csv").open(newline="") as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    for trial, (state, reason) in ends.items():
        assert (rows[trial]["state"], rows[trial]["reason"]) == (state, reason)
        assert f"trial {trial} {state}{f': {reason}' if reason else ''}, " in told
        assert rows[trial]["micro_batch"] == ("1" if trial in (FITS_IN_HALF, NEVER_FITS) else "")
    assert (
        told.count(f"trial {NO_ROOM}: no checkpoint from step {EVERY} on: [Errno 28] No space") == 1
    )
    assert f"trial {KILLED}: " in told and "is damaged; an earlier one is used" in told


def check_mlflow(toy_folder: Path, ends: dict[str, tuple[str, str]]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{toy_folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("faults")
    runs = {
        run.data.tags.get("tune_sr.trial"): run
        for run in client.search_runs([experiment.experiment_id])
    }
    assert len(runs) == 13
    for trial, (state, reason) in ends.items():
        run = runs[trial]
        assert run.info.status == ("FAILED" if state == "failed" else "FINISHED")
        assert (run.data.tags["state"], run.data.tags.get("reason", "")) == (state, reason)
        halved = trial in (FITS_IN_HALF, NEVER_FITS)
        assert run.data.tags.get("micro_batch") == ("1" if halved else None)
