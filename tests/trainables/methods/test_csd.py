from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.methods.csd import (
    CSD,
    CSDConfig,
    contrastive_loss,
    enlarged_BCHW,
    pixel_losses,
    sum_of_distances,
)
from trainables.resample import upsample_BCHW
from trainables.run import Run
from trainables.values import Pairs

Make = Callable[..., Run]
Toy = Callable[..., dict[str, Any]]


def image(*values: float) -> Tensor:
    """1 x 1 x 2 x 2."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 2, 2)


def random_maps(count: int, seed: int) -> Tensor:
    return torch.randn(count, 2, 3, 4, generator=torch.Generator().manual_seed(seed)).double()


# --- the equations ------------------------------------------------------------------------------


def test_pixel_losses_by_hand() -> None:
    hr_BCHW = image(0.5, 0.5, 0.5, 0.5)
    student, wide = pixel_losses(image(0, 0.5, 1, 0.5), image(0.5, 0.5, 0.5, 0.1), hr_BCHW, 255.0)
    assert student.item() == pytest.approx(255 * (0.5 + 0.5) / 4)
    assert wide.item() == pytest.approx(255 * 0.4 / 4)


def test_negatives_are_the_first_images_enlarged() -> None:
    lr_BCHW = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    negatives = enlarged_BCHW(lr_BCHW, 3, 2)
    assert negatives.shape == (3, 1, 8, 8)
    assert torch.equal(negatives, upsample_BCHW(lr_BCHW[:3], 2))


def test_sum_of_distances_by_hand() -> None:
    x_BFHW = torch.cat([image(0, 0, 0, 0), image(1, 1, 1, 1)])
    others_KFHW = torch.cat([image(1, 0, 0, 0), image(0, 0, 0, 3), image(0, 0, 0, 0)])
    # |1 0 0 0| and |0 1 1 1|: 4 of 8; |0 0 0 3| and |1 1 1 -2|: 8 of 8; 0 and 4 of 8
    assert sum_of_distances(x_BFHW, others_KFHW).item() == 4 / 8 + 8 / 8 + 4 / 8


def test_the_gradient_of_distances_is_autograds() -> None:
    x_BFHW, others_KFHW = random_maps(3, 0).requires_grad_(), random_maps(4, 1)
    assert torch.autograd.gradcheck(sum_of_distances, (x_BFHW, others_KFHW))
    plain = (others_KFHW[:, None] - x_BFHW).abs().sum(0).mean()
    (slope,) = torch.autograd.grad(3 * sum_of_distances(x_BFHW, others_KFHW), x_BFHW)
    (plain_slope,) = torch.autograd.grad(3 * plain, x_BFHW)
    torch.testing.assert_close(sum_of_distances(x_BFHW, others_KFHW), plain)
    torch.testing.assert_close(slope, plain_slope)


def test_what_distances_keep_for_the_gradient_does_not_grow_with_their_number() -> None:
    def kept(negatives: int) -> int:
        sizes: list[int] = []

        def count(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            sum_of_distances(random_maps(3, 0).requires_grad_(), random_maps(negatives, 1))
        return sum(sizes)

    assert kept(1) == kept(10) == random_maps(3, 0).numel()


def test_contrastive_loss_by_hand() -> None:
    wide = [image(1, 1, 1, 1), image(2, 0, 0, 0)]
    student = [image(0, 1, 1, 1), image(0, 0, 0, 0)]
    negatives = [
        torch.cat([image(0, 1, 1, 3), image(4, 1, 1, 1)]),
        torch.cat([image(4, 0, 0, 0), image(0, 0, 0, 0)]),
    ]
    # map 1: near 1/4, far 2/4 + 4/4; map 2: near 2/4, far 4/4 + 0
    loss = contrastive_loss(wide, student, negatives, (0.5, 1.0))
    assert loss.item() == pytest.approx(0.5 * 0.25 / 1.5 + 1.0 * 0.5 / 1.0)


def test_contrast_is_zero_at_the_wide_ones_image_and_finite_at_a_negatives() -> None:
    wide, negatives = random_maps(2, 0), random_maps(3, 1)
    assert contrastive_loss([wide], [wide], [negatives], [1.0]).item() == 0.0
    same = negatives[:1]
    # only 1e-7 stands between this and a division by zero
    assert contrastive_loss([wide[:1]], [same], [same], [1.0]).isfinite()


def test_contrast_is_the_same_for_maps_of_any_size_and_any_order_of_negatives() -> None:
    wide, student, negatives = random_maps(2, 0), random_maps(2, 1), random_maps(3, 2)
    loss = contrastive_loss([wide], [student], [negatives], [1.0])
    larger = contrastive_loss([255 * wide], [255 * student], [255 * negatives], [1.0])
    permuted = contrastive_loss([wide], [student], [negatives[[2, 0, 1]]], [1.0])
    torch.testing.assert_close(larger, loss)
    torch.testing.assert_close(permuted, loss)


def test_contrast_pulls_to_the_wide_ones_image_and_pushes_from_the_negatives() -> None:
    student = image(0, 0, 0, 0).requires_grad_()
    wide, negative = image(1, 0, 0, 0), image(0, -1, 0, 0)
    wide.requires_grad_()
    contrastive_loss([wide], [student], [negative], [1.0]).backward()
    assert student.grad is not None
    assert wide.grad is None
    # near = far = 1/4: d near / far = (-1/4) / (1/4), -near / far^2 d far = -(1/4) / (1/16) (1/4)
    assert student.grad.flatten().tolist() == pytest.approx([-1.0, -1.0, 0.0, 0.0], abs=1e-5)


# --- the method ---------------------------------------------------------------------------------


def method_of(run: Run) -> CSD:
    assert isinstance(run.method, CSD)
    return run.method


def batch_of(run: Run) -> Pairs:
    assert run.patches is not None
    return run.patches.draw()


@pytest.mark.parametrize("network", ["vdsr", "edsr", "rcan"])
@pytest.mark.parametrize("features", ["random", "teacher"])
def test_the_terms_are_those_of_the_equations(make_run: Make, network: str, features: str) -> None:
    run = make_run("csd", student={"name": network}, method={"features": features, "lambda_c": 3.0})
    method, batch = method_of(run), batch_of(run)
    assert method.features is not None
    with torch.no_grad():
        small = run.student(batch.lr_BCHW, scale=batch.scale)
        large = method.wide(batch.lr_BCHW, scale=batch.scale)
        maps = [
            method.features(each) for each in (large, small, enlarged_BCHW(batch.lr_BCHW, 2, 2))
        ]
    pixel, wide = pixel_losses(small, large, batch.hr_BCHW, 255.0)
    contrast = 3.0 * contrastive_loss(*maps, method.features.weights)
    losses = method.step(batch)
    assert list(losses) == ["loss/pixel", "loss/teacher_pixel", "loss/contrast"]
    wanted = [float(each) for each in (pixel, wide, contrast)]
    assert [float(each) for each in losses.values()] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("network", ["vdsr", "edsr", "rcan"])
def test_the_student_begins_as_the_leading_channels_of_its_teacher_and_stays_inside(
    make_run: Make, network: str
) -> None:
    run = make_run("csd", student={"name": network})
    method = method_of(run)
    assert run.teacher is not None
    for source in (run.teacher.state_dict(), method.wide.state_dict()):
        for key, part in run.student.state_dict().items():
            assert torch.equal(part, source[key][tuple(slice(side) for side in part.shape)])
    before = copy.deepcopy(run.student.state_dict())
    method.step(batch_of(run))
    for key, part in run.student.state_dict().items():
        assert torch.equal(
            part, method.wide.state_dict()[key][tuple(slice(side) for side in part.shape)]
        )
    assert any(not torch.equal(part, before[key]) for key, part in run.student.state_dict().items())


def test_a_state_puts_both_widths_back(make_run: Make) -> None:
    run, other = make_run("csd"), make_run("csd", seed=1)
    method_of(run).step(batch_of(run))
    state = copy.deepcopy(run.method.state_dict())
    other.method.load_state_dict(state)
    for key, part in other.student.state_dict().items():
        assert torch.equal(part, run.student.state_dict()[key])
    method_of(other).wide.get_parameter("input.weight").data += 1.0
    assert torch.equal(other.student.input.weight, run.student.input.weight + 1.0)  # type: ignore[union-attr, operator]  # VDSR's


@pytest.mark.parametrize(
    ("lambda_t", "lambda_c", "moves"), [(0.0, 0.0, False), (0.0, 2.0, False), (1.0, 0.0, True)]
)
def test_without_its_own_error_the_wide_width_moves_only_in_the_slice(
    make_run: Make, lambda_t: float, lambda_c: float, moves: bool
) -> None:
    weights = {"lambda_t": lambda_t, "lambda_c": lambda_c}
    run = make_run("csd", method=weights, optimiser={"name": "adam", "weight_decay": 0.0})
    wide = method_of(run).wide
    before = copy.deepcopy(wide.state_dict())
    losses = run.method.step(batch_of(run))
    assert ("loss/contrast" in losses) == (lambda_c > 0)
    assert losses["loss/teacher_pixel"] > 0
    outside = 0
    for key, value in wide.state_dict().items():
        moved = (value - before[key]).abs()
        moved[tuple(slice(side) for side in run.student.state_dict()[key].shape)] = 0
        outside += int(moved.count_nonzero())
    assert (outside > 0) == moves


def test_a_running_average_is_of_the_slice_alone(make_run: Make) -> None:
    run = make_run("csd", ema=0.5)
    start = copy.deepcopy(run.student.state_dict())
    run.advance()
    average = run.outcome.state_dict()
    assert {key: value.shape for key, value in average.items()} == {
        key: value.shape for key, value in start.items()
    }
    assert any(not torch.equal(average[key], start[key]) for key in start)
    assert any(not torch.equal(average[key], run.student.state_dict()[key]) for key in start)


# --- what it refuses, and what it warns of ------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"student": {"features": 8}}, "student.features", "has fewer features"),
        ({"student": {"blocks": 3}}, "student.blocks", "has 6 as it has, not 3"),
        ({"student": {"weights": "a.pt"}}, "student.weights", "leave weights out"),
        ({"student": {"name": "swinir"}}, "student.name", "swinir cannot be cut"),
        ({"method": {"negatives": 3}}, "batch.images", "2 images are fewer than"),
        ({"method": {"features": "vgg19"}}, "method.vgg19", "say vgg19: FILE"),
        ({"batch": {"patch": 8}, "student": {"scale": 4}}, "batch.patch", "they need 16 pixels"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    toy: Toy, changes: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as found:
        TrialConfig.parse(toy("csd", **changes))
    assert found.value.path == path


def test_a_slice_alone_needs_neither_features_nor_negatives(toy: Toy) -> None:
    alone = {"lambda_c": 0.0, "lambda_t": 0.0, "features": "vgg19", "negatives": 10}
    TrialConfig.parse(toy("csd", method=alone))


def test_everyone_is_told_what_is_not_comparable() -> None:
    said = {name: CSD.caveat(CSDConfig(name="csd", features=name)) for name in ("vgg19", "random")}  # type: ignore[arg-type]  # two of the three
    assert "eight turned images" in said["vgg19"]
    assert "not comparable" not in said["vgg19"]
    assert said["random"].startswith("features: random is not CSD's VGG19: not comparable")
    without = CSD.caveat(CSDConfig(name="csd", features="random", lambda_c=0.0))
    assert without == said["vgg19"]


def test_the_file_of_features_is_found_from_any_working_directory(toy: Toy) -> None:
    config = TrialConfig.parse(toy("csd", method={"features": "vgg19", "vgg19": "vgg19.pth"}))
    assert isinstance(config.method, CSDConfig)
    assert config.method.vgg19 == str(Path("vgg19.pth").absolute())
