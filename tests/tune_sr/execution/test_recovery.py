from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from tune_sr.execution.recovery import (
    ATTEMPTS,
    Fault,
    LostProcess,
    Retry,
    classify_loss,
    may_be_retried,
    read_error,
    retry_or_fail_lost,
    retry_or_fail_reported,
)
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.execution.state import StudyState
from tune_sr.ledger.history import TrialRecord
from tune_sr.ledger.ledger import Ledger
from tune_sr.ledger.reports import Reported
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study


@pytest.fixture
def config(toy_space: Callable[..., Path], tmp_path: Path) -> StudyConfig:
    return StudyConfig(*load_study(toy_space()), tmp_path / "toy")


def record(micro_batch: int | None = None) -> TrialRecord:
    return TrialRecord("0000", 0, {}, micro_batch=micro_batch)


@pytest.mark.parametrize("reason", ["diverged at step 7: loss/kd is not finite", "OSError: gone"])
def test_what_would_come_again_ends_a_trial_with_what_it_says(reason: str) -> None:
    assert retry_or_fail_reported(record(), reason, images=16) == reason


@pytest.mark.parametrize(
    ("images", "micro_batch", "end"),
    [
        (1, None, "a single image: a smaller batch.patch may fit"),
        (2, 1, "with 1 of 2 images at a time: a smaller batch.patch may fit"),
        (5, 3, "with 3 of 5 images at a time: batch.images 1 may fit"),
    ],
)
def test_a_trial_that_never_fits_ends_with_what_may(
    images: int, micro_batch: int | None, end: str
) -> None:
    told = retry_or_fail_reported(record(micro_batch), "out of memory: 2 GiB", images)
    assert isinstance(told, str) and told.startswith("out of memory: 2 GiB; with ")
    assert told.endswith(end)


def test_an_odd_batch_is_halved_upwards_so_that_two_portions_do() -> None:
    told = retry_or_fail_reported(record(), "out of memory: 2 GiB", images=5)
    assert isinstance(told, Retry) and told.micro_batch == 3


def test_only_losses_that_may_be_a_trials_own_are_counted() -> None:
    own, node = LostProcess("its process was lost"), LostProcess("its node was lost", counts=False)
    assert retry_or_fail_lost(record(), own, 16, ATTEMPTS - 1, ATTEMPTS) == Retry(
        "its process was lost"
    )
    assert (
        retry_or_fail_lost(record(), own, 16, ATTEMPTS, ATTEMPTS) == "its process was lost 4 times"
    )
    assert retry_or_fail_lost(record(), node, 16, 99, ATTEMPTS) == Retry("its node was lost")


def test_a_process_that_its_node_had_no_memory_for_needs_less() -> None:
    full = classify_loss("killed due to the node running low on memory")
    assert isinstance(full, LostProcess)
    again = retry_or_fail_lost(record(), full, 16, 1, ATTEMPTS)
    assert isinstance(again, Retry) and again.micro_batch == 8
    again = retry_or_fail_lost(record(8), full, 16, 2, ATTEMPTS)
    assert again == Retry(full.reason)
    ended = retry_or_fail_lost(record(8), full, 16, ATTEMPTS, ATTEMPTS)
    assert isinstance(ended, str) and ended.startswith("out of memory") and "4 times" in ended


def test_a_preempted_node_is_told_from_a_lost_one_and_from_a_lost_process() -> None:
    said = (
        "The actor died because its node has died. Node Id: 0a\n\tthe actor's node was preempted: x"
    )
    assert classify_loss(said) == LostProcess("its node was preempted", counts=False)
    assert classify_loss(said.partition("\n")[0]) == LostProcess("its node was lost", counts=False)
    assert classify_loss("") == LostProcess("its process was lost")


def test_a_process_that_could_not_begin_is_the_machines_fault() -> None:
    cause = RuntimeError("No module x")
    said = str(
        ActorDiedError(RayTaskError("__init__", "Traceback\nRuntimeError: No module x", cause))
    )
    assert classify_loss(said) == Fault("its process could not begin: RuntimeError: No module x")
    assert classify_loss("", begun=False) == Fault("its process could not begin")
    lost = classify_loss("its node has died", begun=False)
    assert lost == LostProcess("its node was lost", counts=False)


class Payload:
    """Runs a command in whoever unpickles it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._file}",)


def test_what_ray_pickled_is_never_unpickled(tmp_path: Path, config: StudyConfig) -> None:
    """Another user may have put his own file there: a pickle runs what it names."""
    ran, pickled, text = (tmp_path / name for name in ("ran", "error.pkl", "error.txt"))
    pickled.write_bytes(pickle.dumps(Payload(ran)))
    text.write_text("Failure # 1\nits node has died\n")
    live = StudyState(Ledger(tmp_path / "ledger.jsonl"))
    files = {"pickled_error_file": str(pickled), "error_file": str(text)}
    trial = SimpleNamespace(config={"trial": "0000"}, **files)
    LedgerScheduler(config, live).on_trial_error(None, trial)
    assert live.pending_retries["0000"] == LostProcess("its node was lost", counts=False)
    assert not ran.exists()


def test_an_errors_file_that_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    assert read_error(None) == "" and read_error(str(tmp_path / "absent")) == ""
    os.mkfifo(tmp_path / "fifo")
    assert read_error(str(tmp_path / "fifo")) == ""
    (tmp_path / "text").write_text("said")
    (tmp_path / "link").symlink_to(tmp_path / "text")
    assert read_error(str(tmp_path / "link")) == "" and read_error(str(tmp_path / "text")) == "said"


@pytest.mark.parametrize(
    ("reason", "reports", "retried"),
    [
        ("FileNotFoundError: [Errno 2] No such file", 0, True),
        ("ConfigError: teacher.weights: t.safetensors: no such file", 0, True),
        ("its process was lost 4 times", 0, True),
        ("its process was lost 4 times", 3, True),
        ("its process could not begin: OSError: no (4 times)", 0, True),
        ("OSError: gone", 3, False),
        ("diverged at step 7: loss/kd is not finite", 0, False),
        ("out of memory: 2 GiB", 0, False),
        ("invalid: batch.patch: too small", 0, False),
        ("no report for 1800 s", 0, False),
    ],
)
def test_which_failed_trials_are_retried(reason: str, reports: int, retried: bool) -> None:
    made = {step: Reported({"psnr_y_db": 20.0}, "continue", 0.0) for step in range(reports)}
    failed = TrialRecord("0000", 0, {}, made, state="failed", reason=reason)
    assert may_be_retried(failed) is retried
    failed.state = None
    assert not may_be_retried(failed)
