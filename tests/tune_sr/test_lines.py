"""What is added to a file stays there, and a full disk is waited for."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from tune_sr import lines
from tune_sr.ledger import Ledger


def test_a_full_disk_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    first = ledger.append("driver_started", host="here", pid=7, start=1)
    append, tries = lines._append, []

    def full_at_first(path: Path, line: bytes) -> None:
        tries.append(line)
        if len(tries) < 3:
            with path.open("ab") as file:
                file.write(line[: len(line) // 2])  # what there was room for
            raise OSError(errno.ENOSPC, "No space left on device")
        append(path, line)

    monkeypatch.setattr(lines, "_append", full_at_first)
    monkeypatch.setattr(lines, "_LOOK_AGAIN_S", 0.01)
    with caplog.at_level(logging.WARNING):
        second = ledger.append("driver_started", host="here", pid=8, start=2)
    said = [record.message for record in caplog.records]
    assert said == [f"{ledger.path}: No space left on device; waiting: make room there"]
    assert list(ledger.events()) == [first, second]


def test_a_folder_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        lines.append_line(tmp_path, b"line")
