"""One set of decoded images serves every run of a study, whatever the study searches."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from trainables.config import TrialConfig
from trainables.data import training
from trainables.data.images import write_image
from trainables.data.training import TrainingSet
from trainables.run import Run, RunImages
from trainables.values import Pairs

Make = Callable[..., TrialConfig]


@dataclass(frozen=True)
class Folders:
    """Of two pairs at x2, whose LR are not made of their HR."""

    lr: str
    hr: str


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for folder, stem, side in (("lr", f"{name}x2", 20), ("hr", name, 40)):
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            write_image(tmp_path / folder / f"{stem}.png", pixels)
    return Folders(str(tmp_path / "lr"), str(tmp_path / "hr"))


@pytest.fixture
def make(toy: Callable[..., dict[str, Any]], folders: Folders) -> Make:
    def make(method: str = "scratch", **sections: Any) -> TrialConfig:
        raw = toy(method, heldout={"images": folders.hr}, **sections)
        if "data" in raw and "data" not in sections:
            raw["data"] = {"images": folders.hr}
        return TrialConfig.parse(raw)

    return make


def batch(run: Run) -> Pairs:
    assert run.patches is not None
    return run.patches.draw()


def same(one: Run, two: Run) -> bool:
    a, b = batch(one), batch(two)
    return torch.equal(a.lr_BCHW, b.lr_BCHW) and torch.equal(a.hr_BCHW, b.hr_BCHW)


@pytest.mark.parametrize("student", ["vdsr", "edsr"])
def test_a_student_learns_from_pairs(make: Make, folders: Folders, student: str) -> None:
    data = {"images": None, "lr": folders.lr, "hr": folders.hr}
    config = make(data=data, student={"name": student}, batch={"patch": 8})
    run = Run(config)
    assert run.advance()["step"] == 2
    assert not same(Run(config), Run(make(student={"name": student}, batch={"patch": 8})))
    assert same(Run(config), Run(config))


def test_paths_of_pairs_become_absolute(make: Make, folders: Folders) -> None:
    home = Path(folders.lr).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        data = make(data={"images": None, "lr": "lr", "hr": "./hr"}).data
    assert data is not None
    assert (data.images, data.lr, data.hr) == (None, folders.lr, folders.hr)


def test_a_run_makes_nothing_of_what_it_is_handed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = RunImages.of(make(student={"scales": [2, 4]}))
    monkeypatch.setattr(training, "made", None)  # nothing can be made any more
    monkeypatch.setattr(training, "read_images", None)
    for scales in ([2, 4], [4]):
        Run(make(student={"scales": scales}, seed=1), images=shared).advance()


@pytest.mark.parametrize(
    "sections",
    [{"student": {"scales": [4]}}, {"student": {"name": "edsr"}}, {"data": {"images": "photos"}}],
)
def test_a_run_that_needs_other_images_trains_as_if_alone(
    make: Make, sections: dict[str, Any]
) -> None:
    config = make(**sections)
    assert same(Run(config, images=RunImages.of(make())), Run(config))


def test_what_some_points_need_is_read_for_all(make: Make) -> None:
    free, x2, x4 = make("dfsr"), make(), make(student={"scales": [4]})
    assert RunImages.of(free).train is None
    shared = RunImages.of(free, x2, make(student={"name": "edsr"}), x4).train
    assert isinstance(shared, TrainingSet)
    assert (shared.colour, tuple(shared.photographs)) == ("y", (2, 4))
    assert RunImages(RunImages.of(free).heldout).training(x4).photographs.keys() == {4}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_processes_share_one_copy(make: Make) -> None:
    images = RunImages.of(make(student={"scales": [2, 4]}))
    held = [ray.get(reference) for reference in [ray.put(images)] * 2]
    two, four = ([each.train.photographs[scale] for each in held] for scale in (2, 4))
    for array in (*two[0][0].hr, *two[0][0].lr, *held[0].heldout.arrays):
        assert not array.flags.owndata
        assert not array.flags.writeable
    assert np.shares_memory(two[0][0].lr[0], two[1][0].lr[0])
    assert np.shares_memory(two[0][0].hr[0], four[1][0].hr[0])
    run = Run(make(student={"scales": [2, 4]}), images=held[0])
    assert same(run, Run(run.config))
