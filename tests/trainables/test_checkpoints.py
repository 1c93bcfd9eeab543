from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.checkpoints import (
    MANIFEST,
    STATE,
    best_of,
    find_checkpoints,
    newest_valid,
    prune,
    valid_at,
    write_checkpoint,
)
from trainables.config import TrialConfig
from trainables.run import Run, RunImages
from trainables.saved_run import Origin, SavedRun


def report(step: int, value: float) -> dict[str, float]:
    return {"step": float(step), "psnr_y_db": value}


def write(parent: Path, step: int, value: float = 20.0, eligible: bool = True) -> Path:
    state = {"step": step, "weights": torch.full((4,), float(step))}
    return write_checkpoint(parent, state, report(step, value), eligible=eligible).folder


def steps(*parents: Path) -> list[int]:
    return [each.manifest.step for each in find_checkpoints(parents)]


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, 4)
    found = newest_valid([tmp_path])
    assert found is not None
    checkpoint, state = found
    assert state["step"] == 4 and torch.equal(state["weights"], torch.full((4,), 4.0))
    assert checkpoint.manifest.report == report(4, 20.0)
    assert checkpoint.folder.name == "checkpoint_000004"


def test_there_is_none_where_nothing_was_written(tmp_path: Path) -> None:
    assert newest_valid([tmp_path, tmp_path / "absent"]) is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone"])
def test_a_damaged_one_is_set_aside_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 2)
    newest = write(tmp_path, 4)
    content = (newest / STATE).read_bytes()
    if damage == "truncated":
        (newest / STATE).write_bytes(content[:-9])
    elif damage == "flipped":
        (newest / STATE).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        (newest / STATE).unlink()
    with caplog.at_level(logging.WARNING):
        found = newest_valid([tmp_path])
    assert found is not None and found[0].manifest.step == 2
    assert "checkpoint_000004 is damaged" in caplog.text
    assert steps(tmp_path) == [2]  # never counted again, so pruning keeps the good one


def test_a_state_without_its_whole_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 2)
    half, without = write(tmp_path, 4), write(tmp_path, 6)
    (half / MANIFEST).write_bytes((half / MANIFEST).read_bytes()[:20])
    (without / MANIFEST).unlink()
    assert steps(tmp_path) == [2]


def test_a_step_written_again_replaces_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, 2, 20.0)
    write(tmp_path, 2, 21.0)
    (only,) = find_checkpoints([tmp_path])
    assert only.manifest.psnr_y_db == 21.0 and only.state() is not None


def test_the_newest_two_and_the_best_are_kept_over_all_starts(tmp_path: Path) -> None:
    first, second = tmp_path / "start-001", tmp_path / "start-002"
    for step, value in ((2, 20.0), (4, 25.0), (6, 23.0)):
        write(first, step, value)
    for step, value in ((6, 23.0), (8, 22.0), (10, 21.0)):
        write(second, step, value)
    prune([first, second])
    assert steps(first, second) == [10, 8, 4]


def test_those_that_others_go_on_from_are_kept_too(tmp_path: Path) -> None:
    for step in range(2, 20, 2):
        write(tmp_path, step, value=20.0 - step)
        prune([tmp_path], keep=(6, 12))
    assert steps(tmp_path) == [18, 16, 12, 6, 2]


def test_one_is_found_by_its_step_or_after_a_step(tmp_path: Path) -> None:
    for step in (4, 8):
        write(tmp_path, step)
    found = valid_at([tmp_path], 4)
    assert found is not None and found[1]["step"] == 4
    newest = newest_valid([tmp_path], after=7)
    assert newest is not None and newest[1]["step"] == 8
    assert newest_valid([tmp_path], after=8) is None
    assert valid_at([tmp_path], 6) is None
    (tmp_path / "checkpoint_000004" / STATE).write_bytes(b"")
    assert valid_at([tmp_path], 4) is None


def test_best_is_one_that_has_grown_where_there_is_one(tmp_path: Path) -> None:
    write(tmp_path, 2, 30.0, eligible=False)
    write(tmp_path, 4, 29.0, eligible=False)
    best = best_of(find_checkpoints([tmp_path]))
    assert best is not None and best.manifest.step == 2
    write(tmp_path, 6, 20.0)
    write(tmp_path, 8, 20.0)
    best = best_of(find_checkpoints([tmp_path]))
    assert best is not None and best.manifest.step == 6  # of equals the earlier


# --- SavedRun -----------------------------------------------------------------------------------

Toy = Callable[..., dict[str, Any]]


@pytest.fixture
def config(toy: Toy) -> TrialConfig:
    return TrialConfig.parse(toy("dfsr", method={"P": 2, "part_fraction": 0.5},
                                 budget={"steps": 24, "steps_per_report": 4}))  # fmt: skip


def told(report: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in report.items() if key != "seconds_per_step"}


def test_broken_off_anywhere_the_reports_are_those_of_a_run_never_broken(
    tmp_path: Path, config: TrialConfig, images: RunImages
) -> None:
    whole = [told(each) for each in Run(config, images=images).reports()]
    heard: list[dict[str, float]] = []
    for start in range(4):
        last = int(heard[-1]["step"]) if heard else 0
        saved = SavedRun(
            config, tmp_path / f"{start}", earlier=sorted(tmp_path.glob("*")), images=images
        )
        for count, each in enumerate(saved.reports(last)):
            if count == start and start < 3:
                break  # made, saved, and heard by nobody
            heard.append(told(each))
    assert heard == whole


def test_a_copy_goes_on_from_the_other_and_then_from_its_own(
    config: TrialConfig, images: RunImages, tmp_path: Path
) -> None:
    source, own = tmp_path / "source", tmp_path / "own"
    whole = [told(each) for each in SavedRun(config, source, images=images, keep=(4,)).reports()]
    other = config.model_copy(update={"seed": config.seed + 1})
    SavedRun(other, own, images=images).advance()  # what it was before no longer counts
    origin = Origin([source], int(whole[0]["step"]))
    copy = SavedRun(config, own, images=images, origin=origin)
    assert copy.unread(origin.step) is None
    assert not copy.run.watch.recent  # the other's losses were weighted otherwise
    assert told(copy.advance()) == whole[1]
    again = SavedRun(config, own, images=images, origin=origin)
    assert again.restored is not None and again.restored.manifest.step == whole[1]["step"]
    with pytest.raises(ValueError, match="no checkpoint at step 3 to go on from"):
        SavedRun(config, tmp_path / "third", images=images, origin=Origin([source], 3))


def test_a_damaged_newest_checkpoint_costs_one_report_and_changes_none(
    tmp_path: Path, config: TrialConfig, images: RunImages
) -> None:
    whole = [told(each) for each in Run(config, images=images).reports()]
    saved = SavedRun(config, tmp_path, images=images)
    for _ in range(3):
        saved.advance()
    state = tmp_path / "checkpoint_000012" / STATE
    state.write_bytes(state.read_bytes()[:100])
    again = SavedRun(config, tmp_path, images=images)
    assert again.run.step == 8
    assert [told(each) for each in again.reports(read=8)] == whole[2:]


def test_growth_decides_what_is_eligible(
    tmp_path: Path, config: TrialConfig, images: RunImages
) -> None:
    (growth,) = config.growth_steps()
    saved = SavedRun(config, tmp_path, images=images)
    for each in saved.reports():
        step = int(each["step"])
        manifest = json.loads((tmp_path / f"checkpoint_{step:06d}" / MANIFEST).read_text())
        assert manifest["eligible"] == (step > growth)


def test_a_full_disk_is_a_warning_and_training_goes_on(
    tmp_path: Path,
    config: TrialConfig,
    images: RunImages,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    saved = SavedRun(config, tmp_path, images=images)
    saved.advance()
    with monkeypatch.context() as disk, caplog.at_level(logging.WARNING):
        disk.setattr("trainables.checkpoints.os.fsync", full)
        assert [saved.advance()["step"] for _ in range(2)] == [8, 12]
    assert len(caplog.messages) == 1  # one line, however long it lasts
    assert "No space left" in caplog.text and f"make room in {tmp_path}" in caplog.text
    assert [path.name for path in tmp_path.glob("checkpoint_*")] == ["checkpoint_000004"]
    assert saved.advance()["step"] == 16 and steps(tmp_path) == [16, 4]
