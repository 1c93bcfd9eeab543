"""A study that cannot be written down is refused before it starts."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_sr import search
from tune_sr.driver.preflight import prepare
from tune_sr.storage import disk
from tune_sr.storage.disk import (
    appearing,
    check_room,
    check_writable,
    read_object,
    retry_while_disk_full,
)
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

ToySpace = Callable[..., Path]


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["started", "dry"])
def test_a_storage_that_cannot_be_written_is_one_line(
    toy_space: ToySpace, tmp_path: Path, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    storage = tmp_path / "file" / "runs"
    assert search.main(["--space", str(toy_space()), "--storage", str(storage), *dry]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert f"{storage / 'toy'}: nothing can be written to {tmp_path / 'file'}: " in told.err


def test_a_link_to_a_disk_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted")
    with pytest.raises(ValueError, match=f"nothing can be written to {tmp_path}/runs: no such"):
        check_writable(tmp_path / "runs" / "study")


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "runs" / "study")
    check_room(tmp_path / "runs" / "study", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_one_checkpoint_is_refused(
    toy_space: ToySpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(toy_space())
    config = StudyConfig(*study, tmp_path / "runs" / "toy")
    prepare(config)
    asked = []

    class Full:
        free = 500_000

    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Full)
    rule = r"0\.5 MB are free, and one checkpoint of a trial takes \d\.\d MB; make room"
    with pytest.raises(ValueError, match=rule):
        prepare(config)
    assert asked == [tmp_path]
    assert not (tmp_path / "runs").exists()


def test_what_a_full_disk_had_no_room_for_is_written_once_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ]

    def write() -> str:
        if refusals:
            raise refusals.pop(0)
        return "written"

    monkeypatch.setattr(disk, "_LOOK_AGAIN_S", 0.01)
    assert retry_while_disk_full(tmp_path, write) == "written"
    said = [record.message for record in caplog.records]
    assert said == [f"{tmp_path}: No space left on device; waiting: make room there"]


def test_what_waiting_would_not_mend_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").write_text("mine")
        retry_while_disk_full(tmp_path, (tmp_path / "file" / "other").read_text)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff"])
def test_what_holds_no_object_is_read_as_an_empty_one(content, tmp_path):
    path = tmp_path / "study.json"
    if content is not None:
        path.write_bytes(content)
    assert read_object(path) == {}
    path.write_text('{"seed": 1}', encoding="utf-8")
    assert read_object(path) == {"seed": 1}


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "student.png"
    with pytest.raises(OSError, match="full"), appearing(path) as fresh:
        fresh.write_bytes(b"half")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []
    with appearing(path) as fresh:
        assert fresh.suffix == ".png"
        fresh.write_bytes(b"whole")
        assert not path.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["student.png"]
