from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.methods import Setting
from trainables.methods.game import (
    Game,
    GameConfig,
    ImitationConfig,
    Pupil,
    adversarial_loss,
    draw_scale,
    imitation_loss,
    lr_side,
)
from trainables.methods.parts import plan_parts
from trainables.networks import build_network
from trainables.optimisers import OptimiserConfig, ScheduleConfig
from trainables.values import Blank, Randomness

ONES = torch.ones(1, 1, 2, 2)


# --- the equations, by hand ---------------------------------------------------------------------


def test_imitation_by_hand() -> None:
    teacher = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 1.0]]]])
    student = torch.zeros(2, 1, 2, 2)
    assert imitation_loss(teacher, student, "l1_mean", 1.0).item() == 1.5 / 8
    assert imitation_loss(teacher, student, "l1_mean", 255.0).item() == 1.5 / 8 * 255
    assert imitation_loss(teacher, student, "mse_sum", 1.0).item() == 0.25 + 1.0
    assert imitation_loss(teacher, teacher, "mse_sum", 1.0).item() == 0.0


def test_adversarial_by_hand() -> None:
    assert adversarial_loss(torch.tensor(0.0)).item() == 0.0
    assert adversarial_loss(torch.tensor(math.e - 1)).item() == pytest.approx(-1.0)
    assert adversarial_loss(torch.tensor(3.0), log=False).item() == -3.0


@pytest.mark.parametrize(("log", "gradient"), [(True, -1 / (1 + 3.0)), (False, -1.0)])
def test_descending_it_makes_student_and_teacher_disagree_more(log: bool, gradient: float) -> None:
    kd = torch.tensor(3.0, requires_grad=True)
    adversarial_loss(kd, log=log).backward()
    assert kd.grad is not None
    assert kd.grad.item() == gradient < 0


# --- the student's half -------------------------------------------------------------------------


def pupil(setting: Setting, loss: str = "mse_sum") -> Pupil:
    config = ImitationConfig(loss=loss, loss_range=1.0)
    return Pupil(setting, config, plan_parts(1, setting.steps, 1, "even", 0.0))


def weight(setting: Setting) -> float:
    return float(setting.student.weight.detach())  # type: ignore[arg-type]  # the Gain of conftest


@pytest.mark.parametrize(
    ("loss", "optimiser", "kd", "after"),
    [
        # Four pixels, each (0.5 - 1)^2: loss 1, slope 4 * 2 * (0.5 - 1) = -4.
        ("mse_sum", {}, 1.0, 0.5 + 0.1 * 4.0),
        # Its norm 4 is above the clip: the update is lr * clip.
        ("mse_sum", {"clip": 0.4}, 1.0, 0.5 + 0.1 * 0.4),
        # Below the clip nothing happens: slope of the mean |0.5 - 1| is -1.
        ("l1_mean", {"clip": 2.0}, 0.5, 0.5 + 0.1 * 1.0),
        # Weight decay adds 0.2 * 0.5 to the slope.
        ("mse_sum", {"weight_decay": 0.2}, 1.0, 0.5 + 0.1 * (4.0 - 0.1)),
    ],
)
def test_one_update_of_the_student_by_hand(
    gain_setting: Callable[..., Setting],
    loss: str,
    optimiser: dict[str, Any],
    kd: float,
    after: float,
) -> None:
    setting = gain_setting(**optimiser)
    half = pupil(setting, loss)
    assert half.imitate(ONES, half.answer(ONES, 1), 1).item() == pytest.approx(kd)
    assert weight(setting) == pytest.approx(after)


def test_momentum_by_hand(gain_setting: Callable[..., Setting]) -> None:
    setting = gain_setting(momentum=0.5, lr=0.01)
    half = pupil(setting)
    half.imitate(ONES, half.answer(ONES, 1), 1)  # slope -4: 0.5 + 0.04
    half.imitate(
        ONES, half.answer(ONES, 1), 1
    )  # slope 8 * (0.54 - 1) = -3.68, velocity -3.68 - 2: 0.54 + 0.0568
    assert weight(setting) == pytest.approx(0.5968)


def test_the_rate_falls_at_its_fractions_of_the_budget(
    gain_setting: Callable[..., Setting],
) -> None:
    half = pupil(gain_setting(lr=1e-3, schedule=ScheduleConfig(at=0.4, factor=0.1)))
    rates = []
    for _ in range(100):
        half.imitate(ONES, half.answer(ONES, 1), 1)
        rates.append(half.optimiser.lr)
    expected = [1e-3] * 40 + [1e-4] * 40 + [1e-5] * 20
    assert rates == pytest.approx(expected)


def test_the_teacher_is_frozen_but_not_detached(gain_setting: Callable[..., Setting]) -> None:
    setting = gain_setting()
    x_BCHW = ONES.clone().requires_grad_()
    setting.frozen_teacher()(x_BCHW).sum().backward()
    assert x_BCHW.grad is not None
    assert x_BCHW.grad.flatten().tolist() == [1.0] * 4


# --- the game -----------------------------------------------------------------------------------


Terms = Callable[[Tensor, Tensor, Tensor, int], dict[str, Tensor]]


class Table:
    """A game on toys, and what its generator terms were asked."""

    def __init__(self, scales: tuple[int, ...] = (2,), patch: int = 16, **config: Any) -> None:
        toy = {"name": "vdsr", "features": 4, "blocks": 2, "scales": list(scales)}
        optimiser = config.pop("optimiser", {"lr": 1e-3, "clip": None, "schedule": None})
        self.student, self.teacher = build_network(toy, seed=0), build_network(toy, seed=1)
        self.teacher.eval().requires_grad_(False)
        setting = Setting(
            student=self.student,
            teacher=self.teacher,
            optimiser=OptimiserConfig(**optimiser),
            steps=100,
            patch=patch,
            seed=0,
            device=torch.device("cpu"),
        )
        self.config = GameConfig(**{"update_ratio": 3, "latent": 4, **config})
        parts = plan_parts(2, 100, 1, "even", 0.0)
        self.pupil = Pupil(setting, self.config, parts)
        self.asked: list[int] = []
        self.game = Game(setting, self.config, self.pupil, self.terms)

    def terms(self, x: Tensor, teacher: Tensor, student: Tensor, scale: int) -> dict[str, Tensor]:
        self.asked.append(scale)
        assert x.shape[-1] * scale == teacher.shape[-1] == student.shape[-1]
        return {"loss/adversarial": adversarial_loss(self.pupil.compare(teacher, student))}


def copy(*modules: nn.Module) -> list[Tensor]:
    return [value.clone() for module in modules for value in module.state_dict().values()]


def same(before: list[Tensor], *modules: nn.Module) -> bool:
    after = copy(*modules)
    return all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_generator_is_updated_once_in_update_ratio_updates_of_the_student() -> None:
    table = Table(update_ratio=3)
    counts, keys = [], []
    for _ in range(10):
        losses = table.game.step(Blank(2, 16))
        counts.append(len(table.asked))
        keys.append(list(losses))
    assert counts == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert keys[0] == ["loss/kd"]
    assert keys[2] == ["loss/kd", "loss/adversarial"]
    assert table.pupil.updates.value == 10


def test_the_generators_update_leaves_student_and_teacher_alone() -> None:
    table = Table()
    table.game.step(Blank(2, 16))
    networks, generator = copy(table.student, table.teacher), copy(table.game.generators[2])
    velocity = [v.clone() for s in table.pupil.optimiser.state.values() for v in s.values()]
    table.game.provoke(table.game.draw_latents(2), 2)
    assert same(networks, table.student, table.teacher)
    assert not same(generator, table.game.generators[2])
    assert all(parameter.grad is None for parameter in table.student.parameters())
    assert all(parameter.grad is None for parameter in table.teacher.parameters())
    after = [v for s in table.pupil.optimiser.state.values() for v in s.values()]
    assert all(torch.equal(a, b) for a, b in zip(velocity, after, strict=True))


def test_the_students_update_leaves_generator_and_teacher_alone() -> None:
    table = Table(update_ratio=1000)
    before = copy(table.teacher, table.game.generators[2])
    student = copy(table.student)
    for _ in range(3):
        table.game.step(Blank(2, 16))
    assert same(before, table.teacher, table.game.generators[2])
    assert not same(student, table.student)
    assert all(p.grad is None for p in table.game.generators[2].parameters())


def test_only_the_generator_of_the_chosen_scale_is_updated() -> None:
    table = Table(scales=(2, 3, 4), patch=96, update_ratio=1)
    for _ in range(12):
        before = {scale: copy(table.game.generators[scale]) for scale in (2, 3, 4)}
        table.game.step(Blank(1, 96))
        moved = [s for s in (2, 3, 4) if not same(before[s], table.game.generators[s])]
        assert moved == [table.asked[-1]]
    assert set(table.asked) == {2, 3, 4}
    for scale in (2, 3, 4):
        states = table.game.optimisers[scale].state.values()
        assert all(int(state["step"]) == table.asked.count(scale) for state in states)


def test_imagined_images_have_size_channel_and_range() -> None:
    table = Table(scales=(2, 3, 4), patch=96)
    for scale, side in ((2, 48), (3, 32), (4, 24)):
        x_BCHW = table.game.imagine(table.game.draw_latents(2), scale)
        assert x_BCHW.shape == (2, 1, side, side)
        assert 0.0 <= x_BCHW.min() <= x_BCHW.max() <= 1.0
    one, other = (table.game.imagine(table.game.draw_latents(2), 2) for _ in range(2))
    assert not torch.equal(one, other)


def test_the_generator_learns_to_make_them_disagree() -> None:
    table = Table(update_ratio=1, generator_lr=1e-2, optimiser={"lr": 1e-9, "schedule": None})
    kd = [float(table.game.step(Blank(2, 16))["loss/kd"]) for _ in range(20)]
    assert sum(kd[-5:]) > 1.2 * sum(kd[:5])


@pytest.mark.parametrize(("schedule", "last"), [("student", 1e-7), ("constant", 1e-5)])
def test_the_generators_rate_follows_the_students_schedule_from_step_0(
    schedule: str, last: float
) -> None:
    falling = {"lr": 1e-3, "schedule": ScheduleConfig(at=0.4, factor=0.1)}
    table = Table(update_ratio=10, generator_schedule=schedule, optimiser=falling)
    for _ in range(100):
        table.game.step(Blank(1, 16))
    assert len(table.asked) == 10
    assert table.game.optimisers[2].lr == pytest.approx(last)


def test_generators_of_one_scale_do_not_depend_on_the_others() -> None:
    one, all_three = Table(scales=(2,), patch=96), Table(scales=(2, 3, 4), patch=96)
    alone = one.game.generators[2].conv3.weight.detach()
    assert torch.equal(alone, all_three.game.generators[2].conv3.weight)
    assert not torch.equal(alone, all_three.game.generators[3].conv3.weight)


def test_scales_are_drawn_uniformly_and_from_the_stream_given() -> None:
    random, again = Randomness(0, "scale"), Randomness(0, "scale")
    drawn = [draw_scale((2, 3, 4), random) for _ in range(3000)]
    assert drawn == [draw_scale((2, 3, 4), again) for _ in range(3000)]
    assert all(abs(drawn.count(scale) - 1000) < 120 for scale in (2, 3, 4))


def test_the_patch_is_the_side_at_the_bodys_input(gain_setting: Callable[..., Setting]) -> None:
    setting = gain_setting()
    assert [lr_side(setting, scale) for scale in (1, 2, 4)] == [8, 4, 2]
    setting.student.colour = "rgb"
    assert [lr_side(setting, scale) for scale in (1, 2, 4)] == [8, 8, 8]
