"""What a driver writes to a ledger that is no longer its own: nothing."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from events import added, driver_started, reported, study_ended

from tune_sr.ledger.guarded import guarded_ledger
from tune_sr.storage import lock
from tune_sr.storage.lock import DriverLock, StudyLostError
from tune_sr.storage.lock_file import LockedError


def test_a_trial_is_not_added_by_a_driver_that_lost_its_lock(tmp_path: Path) -> None:
    """The heartbeat has not run since: the file itself is looked at."""
    with pytest.raises(LockedError), DriverLock(tmp_path / "driver.lock") as held:
        ledger = guarded_ledger(tmp_path, held)
        ledger.append(driver_started(pid=1))
        path = tmp_path / "driver.lock"
        path.write_text(path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 1'))
        with pytest.raises(LockedError, match="has taken this study over"):
            ledger.append(added(0))
        with pytest.raises(LockedError):
            ledger.append(reported(0, 1, {}, "stop"))
    assert [event["event"] for event in ledger.events()] == ["driver_started"]


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_ledger_that_was_removed_or_replaced_ends_the_driver(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    lost = threading.Event()
    path = tmp_path / "ledger.jsonl"
    ends = pytest.raises(StudyLostError, match=f"was {how}.* all that it held is in")
    with ends, DriverLock(tmp_path / "driver.lock", on_lost=lost.set) as held:
        ledger = guarded_ledger(tmp_path, held)
        ledger.append(driver_started(pid=1))
        assert not lost.wait(0.1)
        if how == "removed":
            path.unlink()
        else:
            (tmp_path / "new").write_text("")
            (tmp_path / "new").replace(path)
        assert lost.wait(10)
        with pytest.raises(StudyLostError):
            ledger.append(driver_started(pid=1))


def test_an_event_that_cannot_be_written_ends_the_driver_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    lost = threading.Event()
    ends = pytest.raises(StudyLostError, match=r"ledger.jsonl cannot be written: Input/output")
    with ends, DriverLock(tmp_path / "driver.lock", on_lost=lost.set) as held:
        ledger = guarded_ledger(tmp_path, held)
        ledger.append(driver_started(pid=1))
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", broken)
            with pytest.raises(OSError, match="Input/output error"):
                ledger.append(study_ended())
        assert lost.is_set()
        with pytest.raises(StudyLostError):  # also where the disk has recovered: what followed?
            ledger.append(study_ended())
    assert [event["event"] for event in ledger.events()] == ["driver_started"]
