from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainables.methods import Setting
from trainables.methods.scratch import Scratch, ScratchConfig, pixel_loss
from trainables.run import Run
from trainables.values import Pairs

SR = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
HR = torch.tensor([[[[0.5, 0.5], [0.0, 0.75]]]])


def test_pixel_loss_by_hand() -> None:
    assert pixel_loss(SR, HR, "mse_sum", 1.0).item() == 0.25 + 1.0 + 0.25
    assert pixel_loss(SR, HR, "l1_mean", 255.0).item() == 127.5
    assert pixel_loss(HR, HR, "mse_sum", 1.0).item() == 0.0


@pytest.mark.parametrize(
    ("loss", "value", "slope"),
    [("mse_sum", 1.0, -4.0), ("l1_mean", 0.5, -1.0)],
)
def test_one_update_by_hand(
    gain_setting: Callable[..., Setting], loss: str, value: float, slope: float
) -> None:
    setting = gain_setting(student=0.5)
    method = Scratch(ScratchConfig(name="scratch", loss=loss), setting)
    ones = torch.ones(1, 1, 2, 2)
    assert method.step(Pairs(ones, ones))["loss/pixel"].item() == value
    weight = dict(setting.student.named_parameters())["weight"].item()
    assert weight == pytest.approx(0.5 - 0.1 * slope)


def test_the_scale_is_that_of_the_pairs(make_run: Callable[..., Run]) -> None:
    three = {"name": "vdsr", "features": 4, "blocks": 2, "scales": [2, 3, 4]}
    run = make_run("scratch", student=three, batch={"images": 1, "patch": 24})
    assert run.patches is not None
    scales = set()
    for _ in range(20):
        pairs = run.patches.draw()
        scales.add(pairs.scale)
        run.method.step(pairs)
    assert scales == {2, 3, 4}
    assert run.teacher is None
