"""Pictures over updates: fixed latents, few files, and not a bit of what is learnt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.methods import METHODS
from trainables.run import Run, RunImages
from trainables.saved_run import SavedRun
from trainables.snapshot_files import DETAIL, IMAGINED, MOST, kept_steps, snapshots_of
from trainables.snapshots import Snapshots, contact_sheet, hardest_window

Make = Callable[..., Run]
DATA_FREE = ["dfad", "dfsr", "dfsr_cmi", "noise"]
LIVELY = {"update_ratio": 1, "generator_lr": 1e-3}


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_picture_that_is_deleted_is_never_needed_again() -> None:
    kept: set[int] = set()
    for step in range(0, 81 * 3, 3):
        kept = kept_steps({*kept, step}, 3)
        assert kept == kept_steps(range(0, step + 1, 3), 3)
        assert len(kept) <= MOST + 2
        assert {0, step} <= kept
    assert len(kept) > MOST / 2
    assert kept_steps((), 3) == set()


def test_a_contact_sheet_by_hand() -> None:
    images = torch.stack([torch.full((1, 2, 2), value) for value in (0.0, 0.5, 1.0, 2.0, -1.0)])
    sheet = contact_sheet(images)
    assert sheet.shape == (5, 11), "4 in a row, the other below"
    assert sheet[:2, ::3].tolist() == [[0, 128, 255, 255]] * 2
    assert (sheet[2] == 255).all() and (sheet[3:, 3:] == 255).all() and (sheet[3:, :2] == 0).all()
    assert contact_sheet(torch.zeros(16, 3, 4, 4)).shape == (19, 19, 3)
    assert contact_sheet(torch.full((1, 1, 1, 1), torch.nan)).item() == 128


def test_the_window_is_where_bicubic_errs_most() -> None:
    truth = np.zeros((6, 8, 3), dtype=np.uint8)
    bicubic = truth.copy()
    bicubic[4, 5] = 9
    top, left = hardest_window(bicubic, truth, 2)
    assert top in (3, 4) and left in (4, 5)


@pytest.mark.parametrize("name", METHODS)
def test_data_free_methods_alone_imagine(name: str, make_run: Make) -> None:
    run = make_run(name, budget={"steps": 4, "steps_per_report": 2})
    images = run.method.imagined()
    assert (images is not None) == (name in DATA_FREE)
    if images is not None:
        assert len(images) == 16 and images.min() >= 0 and images.max() <= 1
        assert torch.equal(images, run.method.imagined())


@pytest.mark.parametrize("name", ["dfsr", "noise", "kd"])
def test_taking_pictures_leaves_no_trace_in_what_is_learnt(
    name: str, make_run: Make, tmp_path: Path,
    bits_that_differ: Callable[[Any, Any], list[str]],
) -> None:  # fmt: skip
    method = LIVELY if name == "dfsr" else {}
    budget = {"steps": 4, "steps_per_report": 2}
    shown, alone = (make_run(name, method=method, budget=budget) for _ in range(2))
    snapshots, before = Snapshots(tmp_path), torch.get_rng_state()
    snapshots.take(shown)
    for _ in range(2):
        first, second = shown.advance(), alone.advance()
        del first["seconds_per_step"], second["seconds_per_step"]
        assert first == second
        snapshots.take(shown)
    assert bits_that_differ(shown.state_dict(), alone.state_dict()) == []
    assert torch.equal(torch.get_rng_state(), before)
    kinds = {IMAGINED, DETAIL} if name in DATA_FREE else {DETAIL}
    assert {path.name for path in tmp_path.iterdir()} == kinds
    for kind in kinds:
        names = sorted(path.name for path in (tmp_path / kind).iterdir())
        assert names == ["step-000000.png", "step-000002.png", "step-000004.png"]


def test_a_resumed_run_takes_the_pictures_of_one_that_went_through(
    make_run: Make, images: RunImages, tmp_path: Path
) -> None:
    sections = {"method": LIVELY, "budget": {"steps": 4, "steps_per_report": 1}}
    config = make_run("dfsr", **sections).config
    through = SavedRun(config, tmp_path / "study/trials/start-001/0000", images=images)
    halves = tmp_path / "halves/trials"
    first = SavedRun(config, halves / "start-001/0000", images=images)
    for _ in range(4):
        through.advance()
    for _ in range(2):
        first.advance()
    earlier = [halves / "start-001/0000"]
    second = SavedRun(config, halves / "start-002/0000", earlier=earlier, images=images)
    for _ in range(2):
        second.advance()
    for kind in (IMAGINED, DETAIL):
        expected, found = (
            {step: pixels(path) for step, path in snapshots_of(study, "0000", kind).items()}
            for study in (tmp_path / "study", tmp_path / "halves")
        )
        assert list(expected) == list(found) == [0, 1, 2, 3, 4]
        for step, picture in expected.items():
            assert np.array_equal(picture, found[step]), (kind, step)
        assert not np.array_equal(expected[0], expected[4])


def test_a_disk_that_is_full_leaves_a_picture_out(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Image.Image, path: Path, **__: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    Snapshots(tmp_path).take(make_run("dfsr", budget={"steps": 4, "steps_per_report": 2}))
    assert snapshots_of(tmp_path, "0000", DETAIL) == {}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
