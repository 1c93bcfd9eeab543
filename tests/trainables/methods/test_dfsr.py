from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainables.methods.dfsr import DFSR, DFSRConfig, reconstruction_loss
from trainables.networks import NETWORKS
from trainables.run import Run
from trainables.values import Blank

BLANK = Blank(2, 16)
GROW = {"P": 2, "part_fraction": 0.5}
"""With a budget of 12: the student grows with update 6, from 3 blocks to 6."""


@pytest.fixture
def start(make_run: Callable[..., Run]) -> Callable[..., DFSR]:
    def make(steps: int = 12, optimiser: dict[str, object] | None = None, **method: object) -> DFSR:
        sections = {"budget": {"steps": steps, "steps_per_report": 1}, "method": method}
        made = make_run("dfsr", optimiser=optimiser or {}, **sections).method
        assert isinstance(made, DFSR)
        return made

    return make


def learn(method: DFSR, updates: int) -> None:
    for _ in range(updates):
        method.step(BLANK)


def copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items()}


def generator(method: DFSR) -> dict[str, Tensor]:
    return copy(method.game.generators[2].state_dict())


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


# --- the equation -------------------------------------------------------------------------------


def test_reconstruction_by_hand() -> None:
    # Rows 1 0 0 0, halved. Keys' kernel stretched to 8 taps weighs -0.0234, -0.0703, 0.2266,
    # 0.8672 and back, over 2; the two pixels nearest the mirrored border fall on pixel 0:
    # (0.8672 + 0.2266) / 2 = 0.546875 for the left result, -0.046875 for the right: clamped to 0.
    teacher = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(1, 1, 4, 1)
    x = torch.tensor([0.5, 0.25]).repeat(1, 1, 2, 1)
    loss = reconstruction_loss(x, teacher, 2, "l1_mean", 1.0)
    assert loss.item() == pytest.approx((0.046875 + 0.25) / 2)
    loss = reconstruction_loss(x, teacher, 2, "mse_sum", 1.0)
    assert loss.item() == pytest.approx(2 * (0.046875**2 + 0.25**2))
    loss = reconstruction_loss(x, teacher, 2, "l1_mean", 255.0)
    assert loss.item() == pytest.approx(255 * (0.046875 + 0.25) / 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reconstruction_of_what_shrinks_back_to_x_is_zero(scale: int) -> None:
    x = torch.full((2, 1, 8, 8), 0.3)
    teacher = torch.full((2, 1, 8 * scale, 8 * scale), 0.3)
    assert reconstruction_loss(x, teacher, scale, "l1_mean", 255.0).item() < 1e-4
    assert reconstruction_loss(x + 0.1, teacher, scale, "l1_mean", 1.0).item() == pytest.approx(0.1)


def test_where_the_teacher_is_saturated_it_pulls_on_x_alone() -> None:
    x = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    teacher = torch.full((1, 1, 4, 4), 1.5, requires_grad=True)
    reconstruction_loss(x, teacher, 2, "l1_mean", 1.0).backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [-0.25] * 4
    assert teacher.grad is not None
    assert teacher.grad.abs().max() == 0.0


def test_the_generators_terms_by_hand(start: Callable[..., DFSR]) -> None:
    x, teacher = torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 4, 4), 0.75)
    student = torch.full((1, 1, 4, 4), 0.25)
    # 4 LR pixels off by 1/2: sum 1. 16 pixels of disagreement 1/2: sum 4.
    terms = start(w_R=3.0)._terms(x, teacher, student, 2)
    assert terms["loss/reconstruction"].item() == pytest.approx(3.0 * 1.0)
    assert terms["loss/adversarial"].item() == pytest.approx(-math.log(1 + 4.0))
    alone = start(w_R=3.0, adversarial=False)._terms(x, teacher, student, 2)
    assert list(alone) == ["loss/reconstruction"]


# --- what the searched quantities do ------------------------------------------------------------


def test_w_R_changes_the_generator_and_with_it_the_student(  # noqa: N802  the paper's symbol
    start: Callable[..., DFSR],
) -> None:
    ours, theirs = start(w_R=1.0), start(w_R=0.1)
    learn(ours, 2)  # the second update is followed by the generator's first
    learn(theirs, 2)
    assert equal(ours.student.state_dict(), theirs.student.state_dict())
    assert not equal(generator(ours), generator(theirs))
    learn(ours, 1)
    learn(theirs, 1)
    assert not equal(ours.student.state_dict(), theirs.student.state_dict())


def test_the_generator_heeds_reconstruction(start: Callable[..., DFSR]) -> None:
    method = start(
        steps=400, w_R=10.0, update_ratio=1, generator_lr=1e-2, optimiser={"lr": 1e-9}, P=1
    )
    losses = [float(method.step(BLANK)["loss/reconstruction"]) for _ in range(20)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


# --- growth -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "depths"),
    [
        ({"P": 1}, [6] * 12),
        ({"P": 2, "part_fraction": 0.5}, [3] * 6 + [6] * 6),
        ({"P": 2, "part_fraction": 0.25, "split_points": 0.75}, [5] * 3 + [6] * 9),
        ({"P": 3, "part_fraction": 0.5}, [2] * 3 + [4] * 3 + [6] * 6),
        ({"P": 3, "part_fraction": 0.5, "split_points": [1, 2]}, [1] * 3 + [2] * 3 + [6] * 6),
    ],
)
def test_as_many_blocks_learn_as_the_parts_say_for_as_many_updates(
    start: Callable[..., DFSR], method: dict[str, object], depths: list[int]
) -> None:
    dfsr = start(**method)
    seen = []
    for _ in range(12):
        dfsr.step(BLANK)
        learning = [unit.conv.weight.grad is not None for unit in dfsr.student.body]
        seen.append(sum(learning) if any(learning) else dfsr.active())
        assert dfsr.active() == seen[-1]
    assert seen == depths
    assert dfsr.pupil.updates.value == 12


def test_an_update_moves_the_active_blocks_and_no_other(start: Callable[..., DFSR]) -> None:
    dfsr = start(**GROW)
    before = copy(dfsr.student.state_dict())
    learn(dfsr, 5)
    after = copy(dfsr.student.state_dict())
    moved = [not torch.equal(before[key], after[key]) for key in before]
    assert moved == [True, True, True, True, False, False, False, True]  # input, 3 of 6, output
    learn(dfsr, 3)  # over the growth: nothing that has joined is frozen
    grown = dfsr.student.state_dict()
    assert all(not torch.equal(after[key], grown[key]) for key in after)


def test_a_growth_keeps_the_parameters_and_the_generator(start: Callable[..., DFSR]) -> None:
    dfsr = start(optimiser={"lr": 1e-20, "weight_decay": 0.0}, update_ratio=100, **GROW)
    learn(dfsr, 6)
    networks = [id(parameter) for parameter in dfsr.student.parameters()]
    student, imagined = copy(dfsr.student.state_dict()), generator(dfsr)
    learn(dfsr, 1)
    assert dfsr.active() == 6
    assert [id(parameter) for parameter in dfsr.student.parameters()] == networks
    assert equal(student, dfsr.student.state_dict())
    assert equal(imagined, generator(dfsr))


def test_a_growth_does_not_restart_the_generators_optimiser(start: Callable[..., DFSR]) -> None:
    dfsr = start(update_ratio=1, **GROW)
    learn(dfsr, 8)
    states = list(dfsr.game.optimisers[2].state.values())
    assert len(states) == len(list(dfsr.game.generators[2].parameters()))
    assert {int(state["step"]) for state in states} == {8}


def test_a_growth_drops_the_students_momentum(start: Callable[..., DFSR]) -> None:
    dfsr = start(optimiser={"lr": 0.01, "weight_decay": 0.0}, update_ratio=100, **GROW)
    velocity = dfsr.pupil.optimiser.state
    learn(dfsr, 6)
    old = dfsr.student.head.weight
    assert not torch.equal(velocity[old]["momentum_buffer"], old.grad)
    learn(dfsr, 1)
    assert len(velocity) == 8  # every convolution has one
    for parameter, state in velocity.items():
        assert torch.equal(state["momentum_buffer"], parameter.grad)


@pytest.mark.parametrize("reset_lr", [True, False])
def test_a_growth_restarts_rate_and_schedule_unless_told_not_to(
    start: Callable[..., DFSR], reset_lr: bool
) -> None:
    falling = {"lr": 0.1, "schedule": {"at": 0.25, "factor": 0.1}}
    dfsr = start(optimiser=falling, reset_lr=reset_lr, **GROW)
    rates = []
    for _ in range(12):
        dfsr.step(BLANK)
        rates.append(dfsr.lr())
    first = [0.1] * 3 + [0.01] * 3
    rest = first if reset_lr else [0.001] * 3 + [0.0001] * 3
    assert rates == pytest.approx(first + rest)


@pytest.mark.parametrize(("init", "jumps"), [("random", True), ("near_identity", False)])
def test_new_blocks_start_random_or_as_if_they_were_not_there(
    start: Callable[..., DFSR], init: str, jumps: bool
) -> None:
    dfsr = start(new_block_init=init, **GROW)
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one_less = dfsr.student.trace(x, scale=2, active=2).sr_BCHW
    first_part = dfsr.student.trace(x, scale=2, active=3).sr_BCHW
    assert not torch.allclose(one_less, first_part, atol=1e-6)  # the first part's are random always
    learn(dfsr, 6)
    before = dfsr.student.trace(x, scale=2, active=3).sr_BCHW
    after = dfsr.student.trace(x, scale=2, active=6).sr_BCHW
    assert torch.allclose(before, after, atol=1e-6) != jumps


def test_before_its_growth_a_report_shows_the_student_as_deep_as_it_is(
    make_run: Callable[..., Run],
) -> None:
    run = make_run("dfsr", method=GROW, budget={"steps": 12, "steps_per_report": 3})
    depths = [report["active_blocks"] for report in run.reports()]
    assert depths == [3, 3, 6, 6]
    assert run.config.growth_steps() == (6,)


def test_defaults_are_the_papers_on_vdsr() -> None:
    config = DFSRConfig(name="dfsr")
    assert (config.w_R, config.P, config.part_fraction) == (1.0, 2, 12 / 80)
    assert (config.update_ratio, config.latent, config.generator_lr) == (50, 256, 1e-5)
    assert (config.loss, config.loss_range, config.new_block_init) == ("mse_sum", 1.0, "random")
    assert config.reset_lr
    assert config.adversarial


@pytest.mark.parametrize("network", [name for name in NETWORKS if NETWORKS[name].colour == "rgb"])
def test_an_rgb_student_is_shown_lr_images_as_large_as_the_patch(
    network: str, make_run: Callable[..., Run]
) -> None:
    run = make_run("dfsr", student={"name": network}, batch={"images": 3, "patch": 24})
    assert isinstance(run.method, DFSR)
    x_BCHW = run.method.game.imagine(run.method.game.draw_latents(3), 2)
    assert x_BCHW.shape == (3, 3, 24, 24)
    assert 0.0 <= x_BCHW.min() <= x_BCHW.max() <= 1.0
    assert run.student(x_BCHW).shape == (3, 3, 48, 48)


@pytest.mark.parametrize("network", [name for name in NETWORKS if NETWORKS[name].colour == "rgb"])
def test_an_rgb_student_grows_from_half_its_body(
    network: str, make_run: Callable[..., Run]
) -> None:
    steps = {"steps": 30, "steps_per_report": 2}
    run = make_run("dfsr", student={"name": network}, budget=steps)
    depth = len(run.student.body)
    assert run.config.growth_steps() == (8,)
    late = {key: p.detach().clone() for key, p in run.student.body[depth // 2 :].named_parameters()}
    reports = [run.advance() for _ in range(5)]
    active = [report["active_blocks"] for report in reports]
    assert active == [depth / 2] * 4 + [depth]
    moved = run.student.body[depth // 2 :].named_parameters()
    assert any(not torch.equal(p, late[key]) for key, p in moved)
