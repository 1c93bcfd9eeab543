from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainables.methods import Setting
from trainables.methods.noise import Noise, NoiseConfig, uniform_noise_BCHW
from trainables.run import Run
from trainables.values import Blank, Randomness

CPU = torch.device("cpu")


def test_the_noise_is_uniform_and_every_pixel_its_own() -> None:
    x = uniform_noise_BCHW((4, 1, 100, 100), Randomness(0, "noise"), CPU)
    assert x.dtype == torch.float32
    assert 0.0 <= x.min() < 0.001
    assert 0.999 < x.max() < 1.0
    assert x.mean().item() == pytest.approx(1 / 2, abs=0.005)
    assert x.var().item() == pytest.approx(1 / 12, rel=0.02)
    shifted = (x[..., 1:] - 0.5) * (x[..., :-1] - 0.5)
    assert abs(shifted.mean().item()) < 0.002
    assert torch.equal(x, uniform_noise_BCHW((4, 1, 100, 100), Randomness(0, "noise"), CPU))


def test_one_update_by_hand(gain_setting: Callable[..., Setting]) -> None:
    setting = gain_setting(student=0.5, teacher=1.0, lr=0.01)
    x = uniform_noise_BCHW((2, 1, 8, 8), Randomness(0, "noise"), CPU)
    method = Noise(NoiseConfig(name="noise"), setting)
    energy = x.square().sum().item()
    kd = method.step(Blank(2, 8))["loss/kd"].item()
    assert kd == pytest.approx(0.25 * energy)  # sum of (0.5 x - x)^2
    weight = dict(setting.student.named_parameters())["weight"].item()
    assert weight == pytest.approx(0.5 + 0.01 * energy)  # slope 2 (0.5 - 1) sum of x^2


@pytest.mark.parametrize(("where", "side", "as_scale"), [("lr", 8, 2), ("input", 16, 1)])
def test_it_is_drawn_as_the_lr_image_or_at_the_bodys_input(
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    side: int,
    as_scale: int,
) -> None:
    run = make_run("noise", method={"noise_at": where})
    seen: list[tuple[tuple[int, ...], int]] = []

    def imitate(x_BCHW: Tensor, _target_BCHW: Tensor, scale: int) -> Tensor:
        seen.append((tuple(x_BCHW.shape), scale))
        return torch.zeros(())

    assert isinstance(run.method, Noise)
    monkeypatch.setattr(run.method.pupil, "imitate", imitate)
    run.method.step(Blank(3, 16))
    assert seen == [((3, 1, side, side), as_scale)]


def test_every_scale_of_the_student_gets_its_turn(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    three = {"name": "vdsr", "features": 4, "blocks": 2, "scales": [2, 3, 4]}
    sections = {"student": three, "batch": {"images": 1, "patch": 96}}
    run = make_run("noise", **sections)
    seen: list[tuple[int, int]] = []

    def imitate(x_BCHW: Tensor, _target_BCHW: Tensor, scale: int) -> Tensor:
        seen.append((scale, x_BCHW.shape[-1]))
        return torch.zeros(())

    assert isinstance(run.method, Noise)
    monkeypatch.setattr(run.method.pupil, "imitate", imitate)
    for _ in range(20):
        run.method.step(Blank(1, 96))
    assert set(seen) == {(2, 48), (3, 32), (4, 24)}
