"""What is added to a file stays there, and a full disk is waited for."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from events import driver_started

from tune_sr.ledger.ledger import Ledger
from tune_sr.storage import append_file, disk
from tune_sr.storage.append_file import AppendOnlyFile


def test_a_full_disk_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first = ledger.append(driver_started(1))
    write, tries = os.write, []

    def full_at_first(descriptor: int, line: bytes) -> int:
        tries.append(line)
        if len(tries) < 5:
            if len(tries) % 2:
                return write(descriptor, line[: len(line) // 2])  # what there was room for
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, line)

    monkeypatch.setattr(append_file.os, "write", full_at_first)
    monkeypatch.setattr(disk, "_LOOK_AGAIN_S", 0.01)
    with caplog.at_level(logging.WARNING):
        second = ledger.append(driver_started(2))
    said = [record.message for record in caplog.records]
    assert said == [f"{ledger.path}: No space left on device; waiting: make room there"]
    assert list(ledger.events()) == [first, second]


def test_a_folder_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        AppendOnlyFile(tmp_path).append(b"line")


def test_lines_that_wait_for_the_disk_share_one_wait_and_one_that_does_not_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "lines", []

    def sync(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == path.stat().st_ino:  # threads of other tests sync as well
            synced.append(descriptor)

    monkeypatch.setattr(append_file.os, "fsync", sync)
    monkeypatch.setattr(append_file, "_SYNC_S", 0.05)
    file = AppendOnlyFile(path)
    file.append(b"the first one")
    before = len(synced)
    for _ in range(5):
        file.append(b"later", sync=False)
    assert len(synced) == before
    wait_until(lambda: len(synced) == before + 1)
    file.append(b"later", sync=False)
    file.append(b"now")
    assert len(synced) == before + 2
    assert path.read_bytes().split(b"\n")[1:] == [b"later"] * 6 + [b"now", b""]


def test_what_the_disk_refuses_afterwards_is_written_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = AppendOnlyFile(tmp_path / "lines")
    file.append(b"kept")
    monkeypatch.setattr(append_file, "_SYNC_S", 0.01)

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full, caplog.at_level(logging.WARNING):
        full.setattr(append_file.os, "fsync", refuse)
        file.append(b"refused", sync=False)
        wait_until(lambda: bool(caplog.records))
    assert "No space left on device; to be written once more" in caplog.text
    (tmp_path / "lines").write_bytes(b"kept\n")  # as such a file system leaves it
    file.append(b"next", sync=False)
    assert (tmp_path / "lines").read_bytes() == b"kept\nrefused\nnext\n"


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)
