from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from tune_sr.faults import (
    ATTEMPTS,
    Again,
    Loss,
    after_failure,
    after_loss,
    read_error,
    why_lost,
)
from tune_sr.ledger import TrialRecord


def record(micro_batch: int | None = None) -> TrialRecord:
    return TrialRecord("0000", 0, {}, micro_batch=micro_batch)


@pytest.mark.parametrize("reason", ["diverged at step 7: loss/kd is not finite", "OSError: gone"])
def test_what_would_come_again_ends_a_trial_with_what_it_says(reason: str) -> None:
    assert after_failure(record(), reason, images=16) == reason


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
    told = after_failure(record(micro_batch), "out of memory: 2 GiB", images)
    assert isinstance(told, str) and told.startswith("out of memory: 2 GiB; with ")
    assert told.endswith(end)


def test_an_odd_batch_is_halved_upwards_so_that_two_portions_do() -> None:
    told = after_failure(record(), "out of memory: 2 GiB", images=5)
    assert isinstance(told, Again) and told.micro_batch == 3


def test_only_losses_that_may_be_a_trials_own_are_counted() -> None:
    own, node = Loss("its process was lost"), Loss("its node was lost", counts=False)
    assert after_loss(record(), own, 16, ATTEMPTS - 1, ATTEMPTS) == Again("its process was lost")
    assert after_loss(record(), own, 16, ATTEMPTS, ATTEMPTS) == "its process was lost 4 times"
    assert after_loss(record(), node, 16, 99, ATTEMPTS) == Again("its node was lost")


def test_a_process_that_its_node_had_no_memory_for_needs_less() -> None:
    full = why_lost(RuntimeError("killed due to the node running low on memory"))
    again = after_loss(record(), full, 16, 1, ATTEMPTS)
    assert isinstance(again, Again) and again.micro_batch == 8
    again = after_loss(record(8), full, 16, 2, ATTEMPTS)
    assert again == Again(full.reason)
    ended = after_loss(record(8), full, 16, ATTEMPTS, ATTEMPTS)
    assert isinstance(ended, str) and ended.startswith("out of memory") and "4 times" in ended


def test_a_preempted_node_is_told_from_a_lost_one_and_from_a_lost_process() -> None:
    preempted = SimpleNamespace(preempted=True)
    assert why_lost(preempted) == Loss("its node was preempted", counts=False)  # type: ignore[arg-type]  # stands for Ray's error
    assert why_lost(None) == Loss("its process was lost")


def test_a_process_that_could_not_begin_says_why() -> None:
    failed = RuntimeError("error raised in its creation task\n\nModuleNotFoundError: No module x\n")
    failed.actor_init_failed = True  # type: ignore[attr-defined]  # stands for Ray's error
    loss = why_lost(failed)
    assert loss == Loss("its process could not begin: ModuleNotFoundError: No module x")
    assert after_loss(record(), loss, 16, ATTEMPTS, ATTEMPTS) == f"{loss.reason} (4 times)"


def test_what_ray_wrote_down_is_read_from_either_file(tmp_path: Path) -> None:
    text, pickled = tmp_path / "error.txt", tmp_path / "error.pkl"
    assert read_error(None, None) is None and read_error(None, str(text)) is None
    text.write_text("Failure # 1\nits node has died\n")
    assert why_lost(read_error(None, str(text))).reason == "its node was lost"
    pickled.write_bytes(b"of a module that is not here")
    assert why_lost(read_error(str(pickled), str(text))).reason == "its node was lost"
    pickled.write_bytes(pickle.dumps(KeyError("a kind of its own")))
    assert isinstance(read_error(str(pickled), str(text)), KeyError)
