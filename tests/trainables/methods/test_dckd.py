from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods.dckd import (
    DCKD,
    drawn_noise,
    dynamic_contrastive_loss,
    moved_history,
    perturbed,
)
from trainables.run import Run
from trainables.values import Randomness

Make = Callable[..., Run]
Draw = Callable[[Run], Any]


def test_noise_is_clipped_to_the_range_of_images_by_hand() -> None:
    x_BCHW = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    noise_KBCHW = torch.tensor([[[[[-0.1, 0.1, 0.1]]]], [[[[0.2, -0.6, -0.2]]]]])
    found = perturbed(x_BCHW, noise_KBCHW)
    assert found.shape == (2, 1, 1, 1, 3)
    assert torch.allclose(found.flatten(), torch.tensor([0.0, 0.6, 1.0, 0.2, 0.0, 0.8]))


def test_every_copy_has_its_own_noise_half_of_them_grey_between_1_and_30_levels() -> None:
    noise_KBCHW = drawn_noise(torch.Size((50, 3, 16, 16)), 4, Randomness(0, "noise"))
    assert noise_KBCHW.shape == (4, 50, 3, 16, 16)
    grey_KB = (noise_KBCHW[:, :, 0] == noise_KBCHW[:, :, 1]).flatten(2).all(-1)
    assert grey_KB.sum().item() == pytest.approx(100, abs=25)
    levels_KB = noise_KBCHW[:, :, 0].flatten(2).std(-1) * 255
    assert 0.8 < levels_KB.min() < 3 and 27 < levels_KB.max() < 34
    assert levels_KB.unique().numel() == 200
    assert drawn_noise(torch.Size((2, 3, 4, 4)), 0, Randomness(0, "noise")).shape[0] == 0


def test_the_contrast_by_hand() -> None:
    one = torch.ones(1, 1, 1, 2)
    student, teacher = [0 * one, 0 * one], [one, 2 * one]
    # Means of |S - T|: 1 and 2. Of |S - n_j|: 4 + 6 = 10, and 1 + 3 = 4.
    negatives = [torch.stack([4 * one, 6 * one]), torch.stack([one, 3 * one])]
    loss = dynamic_contrastive_loss(student, teacher, negatives, (0.5, 1.0))
    assert loss.item() == pytest.approx(0.5 * 1 / 10 + 1.0 * 2 / 4)


def test_an_image_is_contrasted_with_its_own_negatives_alone() -> None:
    student = torch.tensor([0.0, 10.0]).view(2, 1, 1, 1)
    negatives = torch.tensor([1.0, 13.0]).view(1, 2, 1, 1, 1)  # 1 and 3 away from their own
    loss = dynamic_contrastive_loss([student], [student + 4.0], [negatives], (1.0,))
    assert loss.item() == pytest.approx(4.0 / ((1.0 + 3.0) / 2))


def test_the_history_moves_by_hand() -> None:
    moved = moved_history([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 0.0])], 0.1)
    assert [each.tolist() for each in moved] == [pytest.approx([2.8, 0.2])]


def history_of(run: Run) -> list[torch.Tensor]:
    assert isinstance(run.method, DCKD)
    return [each.clone() for each in run.method.history.parameters()]


def test_the_student_enters_its_history_once_an_interval(make_run: Make, draw_batch: Draw) -> None:
    method = {"interval": 3 / 400, "alpha": 0.25}  # every third of 400 updates
    run = make_run("dckd", method=method, optimiser={"name": "adam", "lr": 1e-2})
    begin = history_of(run)
    assert all(torch.equal(a, b) for a, b in zip(begin, run.student.parameters(), strict=True))
    for _ in range(2):
        run.method.step(draw_batch(run))
        assert all(torch.equal(a, b) for a, b in zip(begin, history_of(run), strict=True))
    run.method.step(draw_batch(run))
    for old, now, student in zip(begin, history_of(run), run.student.parameters(), strict=True):
        assert torch.allclose(now, 0.25 * old + 0.75 * student)
    assert any(not torch.equal(a, b) for a, b in zip(begin, history_of(run), strict=True))


def test_without_its_contrast_it_is_kd(make_run: Make, draw_batch: Draw) -> None:
    ours = make_run("dckd", method={"lambda_dcl": 0.0, "loss_range": 255.0})
    kd = make_run("kd")
    for _ in range(3):
        mine, theirs = (run.method.step(draw_batch(run)) for run in (ours, kd))
        assert {k: v.item() for k, v in mine.items()} == {k: v.item() for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("method", "student", "words"),
    [
        ({"features": "vgg19"}, "edsr", r"^method\.vgg19: features: vgg19 needs a file"),
        ({"features": "teacher"}, "swinir", r"^method\.features: the body of swinir shows no"),
    ],
)
def test_features_that_cannot_be_had_are_refused(
    toy: Callable[..., dict[str, Any]], method: dict[str, Any], student: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        TrialConfig.parse(toy("dckd", method=method, student={"name": student}))
    off = toy("dckd", method={**method, "lambda_dcl": 0.0}, student={"name": student})
    assert "contrast is off" in str(TrialConfig.parse(off).caveat)


def test_its_result_does_not_compare(toy: Callable[..., dict[str, Any]]) -> None:
    caveat = TrialConfig.parse(toy("dckd")).caveat
    assert caveat == (
        "features: random is not DCKD's VQGAN, and its codebook term is left out: not comparable"
    )
