from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods import Setting
from trainables.methods.dukd import DUKD, DUKDConfig, consistent_BCHW, upcycled_loss
from trainables.methods.invertible import OPERATIONS, Augmentation
from trainables.networks import build_network
from trainables.networks.base import SRNet, SRNetConfig, Tap
from trainables.networks.checkpoint import save_network
from trainables.resample import downsample_BCHW
from trainables.run import Run
from trainables.values import Pairs, Trace

PAPER = ("inversion", "hflip", "vflip", "transpose")


class ContrastConfig(SRNetConfig):
    name: Literal["contrast"] = "contrast"
    features: int = 1
    blocks: int = 1
    scales: tuple[int, ...] = (2,)


class Contrast(SRNet):
    """sr = 1/2 + w (nearest(x) - 1/2) + skew column: without skew, equivariant to every D."""

    colour = "y"
    multiple_of = 1

    def __init__(self, weight: float, skew: float = 0.0) -> None:
        super().__init__(ContrastConfig.model_construct(scales=(2,), blocks=1, features=1))
        self.weight = nn.Parameter(torch.tensor(weight))
        self.skew = skew
        self.units = nn.ModuleList([nn.Identity()])
        self.seen: list[Tensor] = []

    @property
    def head(self) -> nn.Module:
        return self.units[0]

    @property
    def body(self) -> nn.ModuleList:
        return self.units

    @property
    def tail(self) -> nn.Module:
        return self.units[0]

    def trace_at_once(
        self, lr_BCHW: Tensor, *, scale: int | None, taps: Sequence[Tap], active: int | None
    ) -> Trace:
        times = self.chosen_scale(scale)
        self.seen.append(lr_BCHW.detach())
        large_BCHW = lr_BCHW.repeat_interleave(times, -1).repeat_interleave(times, -2)
        column = torch.arange(float(large_BCHW.shape[-1]))
        return Trace(0.5 + self.weight * (large_BCHW - 0.5) + self.skew * column)

    def initialise(self, generator: torch.Generator) -> None:
        raise AssertionError("the Contrast of a test has the weight that the test gave it")

    def near_identity(self, first: int) -> None:
        raise AssertionError("the Contrast of a test does not grow")


Start = Callable[..., DUKD]


@pytest.fixture
def start(gain_setting: Callable[..., Setting]) -> Start:
    """`start(weight=0.5, lr=0.1, field=...)`: a student of one number; its teacher has 1."""

    def make(
        weight: float = 0.5, teacher: float = 1.0, skew: float = 0.0, lr: float = 0.1, **fields: Any
    ) -> DUKD:
        student, taught_by = Contrast(weight, skew), Contrast(teacher, skew)
        taught_by.eval().requires_grad_(False)
        setting = replace(gain_setting(lr=lr), student=student, teacher=taught_by)
        return DUKD(DUKDConfig(name="dukd", **{"loss_range": 1.0, **fields}), setting)

    return make


def grey(level: float, images: int = 2) -> Pairs:
    """Pairs of one colour, LR 4 x 4 and HR 8 x 8."""
    return Pairs(torch.full((images, 1, 4, 4), level), torch.full((images, 1, 8, 8), level))


def mixed(images: int = 6) -> Pairs:
    hr = torch.rand(images, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Pairs(downsample_BCHW(hr, 2), hr)


def values(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name.removeprefix("loss/"): loss.item() for name, loss in losses.items()}


def weight(method: DUKD) -> float:
    return next(method.student.parameters()).item()


def seen(network: SRNet) -> list[Tensor]:
    assert isinstance(network, Contrast)
    return network.seen


# --- the equations, by hand ---------------------------------------------------------------------


def test_the_upcycled_loss_by_hand() -> None:
    student = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 1.0]]]])
    teacher = torch.zeros(2, 1, 2, 2)
    assert upcycled_loss(student, teacher, 1.0, 1.0).item() == 1.5 / 8
    assert upcycled_loss(student, teacher, 0.2, 255.0).item() == pytest.approx(0.2 * 255 * 1.5 / 8)
    assert upcycled_loss(student, student, 1.0, 255.0).item() == 0.0


def test_the_students_answer_by_way_of_an_augmented_image_by_hand() -> None:
    # S adds 1/8 for each column to the right: on a mirrored image, undone, to the left.
    student, x = Contrast(1.0, skew=0.125), torch.tensor([[[[0.25]]]]).repeat(2, 1, 1, 1)
    augmentation = Augmentation(((OPERATIONS["hflip"], torch.tensor([0, 1])),))
    answer = consistent_BCHW(student, x, 2, augmentation)
    assert answer[0, 0].tolist() == [[0.25, 0.375]] * 2
    assert answer[1, 0].tolist() == [[0.375, 0.25]] * 2
    # Inverted: S(1 - x) = 3/4 and 7/8, undone 1/4 and 1/8.
    augmentation = Augmentation(((OPERATIONS["inversion"], torch.tensor([1, 1])),))
    assert consistent_BCHW(student, x, 2, augmentation)[0, 0].tolist() == [[0.25, 0.125]] * 2


# Grey 0.9: teacher and truth answer 0.9, the student 0.5 + w 0.4, and |dL/dw| is 0.4 per weight.
@pytest.mark.parametrize(
    ("update", "after", "upcycled"),
    [
        ("joint", 0.5 + 0.1 * 0.4 * 1.6, 0.2 * 0.4 * 0.5),
        ("split", 0.5 + 0.1 * 0.4 * (1.2 + 0.4), 0.2 * 0.4 * (0.5 - 0.1 * 0.4 * 1.2)),
        ("released", 0.5 + 0.1 * 0.4 * (1.2 + 1.6), 0.2 * 0.4 * (0.5 - 0.1 * 0.4 * 1.2)),
    ],
)
def test_one_step_by_hand(start: Start, update: str, after: float, upcycled: float) -> None:
    method = start(update=update)
    losses = values(method.step(grey(0.9)))
    assert losses == pytest.approx(
        {"pixel": 0.4 * 0.5, "kd": 0.2 * 0.4 * 0.5, "zoom_in": upcycled, "zoom_out": upcycled}
    )
    assert weight(method) == pytest.approx(after)
    assert method.updates.value == 1


@pytest.mark.parametrize("update", ["joint", "split", "released"])
def test_no_gradient_outlives_its_step(start: Start, update: str) -> None:
    method = start(update=update, lr=1e-9)
    slopes = []
    for _ in range(2):
        method.step(grey(0.9))
        gradient = next(method.student.parameters()).grad
        assert gradient is not None
        slopes.append(gradient.item())
    assert slopes[0] == slopes[1]


def test_the_weights_multiply_their_terms(start: Start) -> None:
    fields = {"lr": 1e-9, "zoom_out_pix": True, "loss_range": 255.0}
    losses = values(start(lambda_kd=3.0, lambda_dukd=5.0, **fields).step(grey(0.9)))
    unit = 255 * 0.4 * 0.5
    expected = {"pixel": 1, "kd": 3, "zoom_in": 5, "zoom_out": 5, "zoom_out_pixel": 1}
    assert losses == pytest.approx({name: times * unit for name, times in expected.items()})


def test_the_pixel_term_of_zoom_out_has_the_lr_as_its_truth(start: Start) -> None:
    method = start(weight=1.0, zoom_out_pix=True, operations=())
    batch = mixed()
    losses = values(method.step(batch))
    small = downsample_BCHW(batch.lr_BCHW, 2)
    error = (small.repeat_interleave(2, -1).repeat_interleave(2, -2) - batch.lr_BCHW).abs().mean()
    assert losses["zoom_out_pixel"] == pytest.approx(error.item())


# --- label consistency --------------------------------------------------------------------------


@pytest.mark.parametrize("happens", list(product([False, True], repeat=4)))
def test_an_equivariant_network_is_consistent_under_each_of_the_16_combinations(
    start: Start, happens: tuple[bool, ...]
) -> None:
    chosen = [name for name, on in zip(PAPER, happens, strict=True) if on]
    losses = values(start(weight=1.0, aug_prob=1.0, operations=chosen).step(mixed()))
    assert losses["zoom_in"] == pytest.approx(0.0, abs=1e-7)
    assert losses["zoom_out"] == pytest.approx(0.0, abs=1e-7)


def test_what_is_not_equivariant_is_noticed(start: Start) -> None:
    same = {"weight": 1.0, "skew": 0.01, "aug_prob": 1.0}
    assert values(start(operations=(), **same).step(mixed()))["zoom_in"] == 0.0
    assert values(start(operations=("hflip",), **same).step(mixed()))["zoom_in"] > 0.001
    assert values(start(operations=("vflip",), **same).step(mixed()))["zoom_in"] == 0.0


def test_only_the_student_sees_augmented_images(start: Start) -> None:
    method = start(operations=("inversion",), aug_prob=1.0)
    method.step(mixed())
    (plain, zoomed_in, zoomed_out), student = seen(method.teacher), seen(method.student)
    assert torch.equal(student[0], plain)
    assert torch.equal(student[1], 1 - zoomed_in)
    assert torch.equal(student[2], 1 - zoomed_out)


def test_zoom_in_alone_is_augmented_as_released(start: Start) -> None:
    method = start(operations=("inversion",), aug_prob=1.0, augment_on="zi")
    method.step(mixed())
    teacher, student = seen(method.teacher), seen(method.student)
    assert torch.equal(student[1], 1 - teacher[1])
    assert torch.equal(student[2], teacher[2])


def test_the_second_update_is_of_the_student_that_the_first_one_left(start: Start) -> None:
    joint, split = start(), start(update="split")
    ours, theirs = values(joint.step(grey(0.9))), values(split.step(grey(0.9)))
    assert ours["pixel"] == theirs["pixel"]
    assert ours["zoom_in"] > theirs["zoom_in"]


# --- what the searched quantities do ------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "shapes"),
    [
        ({}, [(2, 4), (2, 4), (2, 2)]),
        ({"zoom_in": "grid"}, [(2, 4), (2, 4), (2, 2)]),
        ({"zoom_in": "off"}, [(2, 4), (2, 2)]),
        ({"zoom_out": False}, [(2, 4), (2, 4)]),
        ({"n_gt_sub": 3}, [(2, 4), (6, 4), (2, 2)]),
        ({"zoom_in": "grid", "n_gt_sub": 4, "zoom_out": False}, [(2, 4), (8, 4)]),
        ({"zoom_in": "off", "zoom_out": False}, [(2, 4)]),
    ],
)
@pytest.mark.parametrize("update", ["joint", "split", "released"])
def test_the_passes_through_both_networks(
    start: Start, fields: dict[str, Any], shapes: list[tuple[int, int]], update: str
) -> None:
    method = start(update=update, **fields)
    method.step(mixed(2))
    for network in (method.student, method.teacher):
        assert [(len(x), x.shape[-1]) for x in seen(network)] == shapes


@pytest.mark.parametrize("update", ["joint", "split", "released"])
def test_without_zoom_it_is_kd(make_run: Callable[..., Run], update: str) -> None:
    off = {"zoom_in": "off", "zoom_out": False, "update": update}
    optimiser = {"name": "adam", "lr": 1e-3}
    dukd = make_run("dukd", method=off, optimiser=optimiser)
    kd = make_run("kd", method={"lambda_kd": 0.2}, optimiser=optimiser)
    for _ in range(3):
        assert dukd.patches is not None
        batch = dukd.patches.draw()
        assert values(dukd.method.step(batch)) == values(kd.method.step(batch))
    ours, theirs = dukd.student.state_dict(), kd.student.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("network", ["vdsr", "edsr"])
def test_every_scale_learns_from_every_term(
    make_run: Callable[..., Run], toy: Any, tmp_path: Any, network: str, scale: int
) -> None:
    small = {"name": network, "features": 4, "blocks": 1, "scale": scale}
    save_network(tmp_path / "teacher.safetensors", build_network(small, seed=1))
    run = make_run(
        "dukd",
        student=small,
        teacher={**small, "weights": str(tmp_path / "teacher.safetensors")},
        method={"zoom_out_pix": True},
        batch={"images": 1, "patch": 24 if network == "vdsr" else 8},
    )
    assert run.patches is not None
    losses = values(run.method.step(run.patches.draw()))
    assert list(losses) == ["pixel", "kd", "zoom_in", "zoom_out", "zoom_out_pixel"]
    assert all(loss > 0 for loss in losses.values())


# --- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "operations"),
    [
        ("all", tuple(OPERATIONS)),
        ("none", ()),
        ("hflip", ("hflip",)),
        ("inversion+rot90", ("inversion", "rot90")),
        (["transpose", "vflip"], ("transpose", "vflip")),
        ([], ()),
    ],
)
def test_operations_are_a_list_or_a_word(given: Any, operations: tuple[str, ...]) -> None:
    assert DUKDConfig(name="dukd", operations=given).operations == operations


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ({"operations": "hflip+flop"}, "method.operations", "'inversion'"),
        ({"operations": "hflip+hflip"}, "method.operations", "at most once"),
        ({"operations": 3}, "method.operations", "tuple"),
        ({"zoom_in": "grid", "n_gt_sub": 5}, "method.n_gt_sub", "4 tiles of a x2 patch"),
        ({"zoom_in": True}, "method.zoom_in", "'random'"),
        ({"aug_prob": 1.5}, "method.aug_prob", "less than or equal to 1"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    toy: Callable[..., dict[str, Any]], method: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        TrialConfig.parse(toy("dukd", method=method))
    assert refusal.value.path.startswith(path)
    assert words in refusal.value.rule


def test_as_many_random_crops_as_wanted_are_allowed(toy: Callable[..., dict[str, Any]]) -> None:
    method = TrialConfig.parse(toy("dukd", method={"n_gt_sub": 5})).method
    assert isinstance(method, DUKDConfig)
    assert method.n_gt_sub == 5


@pytest.mark.parametrize(
    ("preset", "changed"),
    [
        ("default", {}),
        ("paper", {"lambda_kd": 1.0, "lambda_dukd": 1.0}),
        (
            "released",
            {
                "zoom_in": "grid",
                "augment_on": "zi",
                "zoom_out_pix": True,
                "update": "released",
            },
        ),
    ],
)
def test_the_presets(
    toy: Callable[..., dict[str, Any]], preset: str, changed: dict[str, Any]
) -> None:
    raw = toy("dukd", student={"name": "edsr"}, method={"preset": preset})
    config = TrialConfig.parse(raw)
    expected = {"name": "dukd", "preset": preset, **changed}
    assert config.method == DUKDConfig.model_validate(expected)
    assert config.ema == 0.999
    assert config.optimiser.betas == (0.9, 0.99)


@pytest.mark.parametrize(("network", "zoom_out"), [("edsr", True), ("swinir", False)])
def test_the_paper_does_not_zoom_out_for_swinir(
    toy: Callable[..., dict[str, Any]], network: str, zoom_out: bool
) -> None:
    method = TrialConfig.parse(toy("dukd", student={"name": network})).method
    assert isinstance(method, DUKDConfig)
    assert method.zoom_out == zoom_out


# --- without a teacher ----------------------------------------------------------------------------


def test_without_weights_no_teacher_pass_is_spent_and_the_upcycled_lr_teaches(
    make_run: Callable[..., Run], draw_batch: Callable[[Run], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    control = {"lambda_kd": 0.0, "lambda_dukd": 0.0, "zoom_in": "off", "zoom_out_pix": True}
    run = make_run("dukd", method={**control, "aug_prob": 0.0}, student={"name": "edsr"})
    asked: list[int] = []
    monkeypatch.setattr(type(run.method), "_teach", lambda *given: asked.append(1))
    before = [each.clone() for each in run.student.parameters()]
    losses = run.method.step(draw_batch(run))
    assert asked == []
    assert {name for name, loss in losses.items() if loss > 0} == {
        "loss/pixel",
        "loss/zoom_out_pixel",
    }
    assert losses["loss/kd"] == losses["loss/zoom_out"] == 0.0
    after = run.student.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
