"""Judged by its teacher, a student never sees nor needs a photograph."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.agreement import IMAGES, Agreement, imagined_BCHW
from trainables.checkpoints import best_of, find_checkpoints
from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.marks import marks
from trainables.metrics.evaluate import evaluate
from trainables.networks.generator import Generator
from trainables.run import Run, RunImages, upscaler
from trainables.saved_run import SavedRun
from tune_sr.visualization.panel import draw_student_panel

BUDGET = {"steps": 4, "steps_per_report": 2}


@pytest.fixture(params=["vdsr", "edsr"])
def config(request: pytest.FixtureRequest, toy: Callable[..., dict[str, Any]]) -> TrialConfig:
    student = {"name": request.param}
    return TrialConfig.parse(toy("noise", student=student, heldout=None, budget=BUDGET))


@pytest.fixture
def run(config: TrialConfig) -> Run:
    return Run(config)


@pytest.mark.parametrize("colour", ["y", "rgb"])
def test_half_of_the_images_is_noise_and_half_is_made_by_a_generator(colour: Any) -> None:
    lr_BCHW = imagined_BCHW(colour)
    assert lr_BCHW.shape == (IMAGES, 1 if colour == "y" else 3, 48, 48)
    assert torch.equal(lr_BCHW, imagined_BCHW(colour)), "the same for every study"
    assert lr_BCHW.min() >= 0 and lr_BCHW.max() <= 1
    steps = (lr_BCHW[..., 1:] - lr_BCHW[..., :-1]).abs().mean(dim=(1, 2, 3))
    assert steps[: IMAGES // 2].min() > 0.25, "of uniform noise neighbours differ by 1/3"
    assert steps[IMAGES // 2 :].max() < steps[: IMAGES // 2].min(), "it enlarges as it draws"
    assert len({each.sum().item() for each in lr_BCHW}) == IMAGES


@pytest.mark.bits
def test_the_images_are_made_by_one_thread_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []
    forward = Generator.forward

    def noted(self: Generator, z_BK: torch.Tensor) -> torch.Tensor:
        used.append(torch.get_num_threads())
        return forward(self, z_BK)

    monkeypatch.setattr(Generator, "forward", noted)
    torch.set_num_threads(1)
    one = imagined_BCHW("y")
    torch.set_num_threads(3)
    assert torch.equal(imagined_BCHW("y"), one)
    assert (used, torch.get_num_threads()) == ([1, 1], 3)


def test_agreement_is_the_mean_psnr_against_the_teachers_images(run: Run) -> None:
    scale = run.student.scales[0]
    assert run.teacher is not None
    lr_BCHW = imagined_BCHW(run.student.colour)
    with torch.no_grad():
        pairs = [
            [
                network(one, scale=scale).double().clamp(0, 1)
                for network in (run.student, run.teacher)
            ]
            for one in lr_BCHW.split(1)
        ]
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64).view(1, 3, 1, 1) / 255
    expected = []
    for ours, theirs in pairs:
        error = (ours - theirs) * (weights if ours.shape[1] == 3 else 1)
        error = error.sum(dim=1)[..., scale:-scale, scale:-scale]
        expected.append(-10 * math.log10(error.square().mean().item()))
    report = run.evaluate()
    assert set(report) == {"teacher_agreement_db", f"teacher_agreement_db_x{scale}"}
    # By hand one image passes at a time, whose float32 roundings are others than a batch's.
    assert report["teacher_agreement_db"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert evaluate(upscaler(run.teacher), run.heldout)["teacher_agreement_db"] == 100
    assert marks(run)["teacher"] is None
    assert math.isfinite((marks(run)["bicubic"] or {})["teacher_agreement_db"])


def test_no_image_is_read_and_the_best_checkpoint_agrees_most(
    config: TrialConfig, tmp_path: Path
) -> None:
    images = RunImages.of(config)
    assert images == RunImages(None)
    saved = SavedRun(config, tmp_path, images=images)
    reports = list(saved.reports())
    assert len(reports) == 2 and not {"psnr_y_db", "ssim"} & set(reports[0])
    best = best_of(find_checkpoints([tmp_path]))
    assert best is not None
    assert best.manifest.step == max(reports, key=lambda each: each[config.quality])["step"]
    draw_student_panel(tmp_path / "panel.png", saved.run)
    with Image.open(tmp_path / "panel.png") as picture:
        assert picture.width == 1600


def test_without_a_teacher_there_is_nobody_to_agree_with(
    toy: Callable[..., dict[str, Any]],
) -> None:
    with pytest.raises(ConfigError, match=r"^heldout: null judges by the teacher, and there is"):
        TrialConfig.parse(toy("scratch", heldout=None))


def test_every_scale_has_its_own_agreement(make_run: Callable[..., Run]) -> None:
    run = make_run("noise", heldout=None)
    assert isinstance(run.heldout, Agreement)
    report = run.evaluate()
    scaled = [value for key, value in report.items() if "_x" in key]
    assert report["teacher_agreement_db"] == pytest.approx(np.mean(scaled))
