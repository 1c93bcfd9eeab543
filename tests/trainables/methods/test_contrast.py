from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.methods import Setting
from trainables.methods.contrast import (
    Contrast,
    ContrastConfig,
    Projection,
    contrastive_loss,
    pooled_BF,
    standardised,
    tapped_units,
)
from trainables.networks import build_network
from trainables.optimisers import OptimiserConfig
from trainables.values import Randomness

EDSR = {"name": "edsr", "features": 4, "blocks": 4, "scale": 2}
VDSR = {"name": "vdsr", "features": 4, "blocks": 4, "scales": [2, 3]}


def contrast(network: dict[str, object] = VDSR, seed: int = 0, **config: object) -> Contrast:
    """A contrast in the eyes of a toy teacher."""
    setting = Setting(
        student=build_network(network, seed=0),
        teacher=build_network(network, seed=1).eval().requires_grad_(False),
        optimiser=OptimiserConfig(),
        steps=100,
        patch=24,
        seed=seed,
        device=torch.device("cpu"),
    )
    small = ContrastConfig(**{"bank_size": 8, "negatives": 4, "embedding": 6, **config})
    return Contrast(small, setting, OptimiserConfig(name="adam", lr=1e-2, clip=None))


def loss_of(ours: Contrast, x_BCHW: Tensor, scale: int) -> Tensor:
    return ours.loss(x_BCHW, scale, *ours.draw(x_BCHW.shape, scale))


def pictures(images: int = 3, colours: int = 1) -> Tensor:
    return torch.rand(images, colours, 12, 12, generator=torch.Generator().manual_seed(0))


def unit_rows(count: int, numbers: int) -> Tensor:
    drawn = torch.randn(count, numbers, generator=torch.Generator().manual_seed(count))
    return drawn / drawn.norm(dim=1, keepdim=True)


# --- the equations, by hand ---------------------------------------------------------------------

EYE, SWAPPED = torch.eye(2), torch.eye(2).flip(0)
KNOWN, MISTAKEN = math.log(1 + math.exp(-1.0)), math.log(1 + math.exp(1.0))


@pytest.mark.parametrize(
    ("positives", "images", "loss"),
    [
        (EYE, 2, KNOWN),  # each anchor's cosines: 1 with its own, 0 with the other
        (SWAPPED, 2, MISTAKEN),
        (EYE, 1, KNOWN + KNOWN),  # a mean for the batch and one for the bank
        (torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 1, math.log(2.0) + math.log(2.0)),
    ],
)
def test_contrast_by_hand(positives: Tensor, images: int, loss: float) -> None:
    assert contrastive_loss(EYE, positives, 1.0, images).item() == pytest.approx(loss)


def test_the_temperature_sharpens_what_stands_out() -> None:
    # tau 1/2: cosines count twice.
    half = contrastive_loss(EYE, EYE, 0.5, 2).item()
    assert half == pytest.approx(math.log(1 + math.exp(-2.0)))
    assert 0.0 <= contrastive_loss(EYE, EYE, 0.05, 2).item() < 1e-6 < half


def test_where_nothing_tells_images_apart_it_is_the_logarithm_of_their_number() -> None:
    same = torch.ones(7, 1)
    assert contrastive_loss(same, same, 0.1, 7).item() == pytest.approx(math.log(7))


def test_turning_the_sphere_or_the_order_of_images_changes_nothing() -> None:
    anchors, positives = unit_rows(6, 5), unit_rows(6, 5).roll(1, 0)
    loss = contrastive_loss(anchors, positives, 0.1, 4).item()
    turn = torch.linalg.qr(unit_rows(5, 5)).Q
    assert contrastive_loss(anchors @ turn, positives @ turn, 0.1, 4).item() == pytest.approx(loss)
    order = torch.tensor([2, 0, 3, 1, 5, 4])  # batch and bank each among themselves
    assert contrastive_loss(anchors[order], positives[order], 0.1, 4).item() == pytest.approx(loss)


def test_the_banks_size_does_not_dilute_the_gradient_of_the_batch() -> None:
    anchors, positives = unit_rows(2, 5).requires_grad_(), torch.eye(5)[:2]
    slopes = []
    for copies in (1, 50):
        bank = unit_rows(1, 5).expand(copies, 5)
        loss = contrastive_loss(torch.cat([anchors, bank]), torch.cat([positives, bank]), 1.0, 2)
        slopes.append(torch.autograd.grad(loss, anchors)[0].norm().item())
    assert slopes[1] > slopes[0]  # more to differ from; over all rows' mean it would be 1/17


def test_no_gradient_passes_to_the_positives() -> None:
    anchors, positives = unit_rows(4, 3).requires_grad_(), unit_rows(4, 3).requires_grad_()
    contrastive_loss(anchors, positives, 0.1, 4).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert positives.grad is None
    assert anchors.grad is not None and anchors.grad.abs().sum() > 0


def test_statistics_by_hand() -> None:
    first = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 1, 2, 2)
    second = torch.full((1, 2, 1, 1), 7.0)
    assert pooled_BF([first, second], "mean").tolist() == [[2.5, 7.0, 7.0]]
    found = pooled_BF([first, second], "mean_std").flatten().tolist()
    assert found == pytest.approx([2.5, 7.0, 7.0, math.sqrt(1.25), 1e-6, 1e-6])


@pytest.mark.parametrize("statistics", ["mean", "mean_std"])
def test_statistics_do_not_know_where_things_are_and_can_be_derived_where_all_is_flat(
    statistics: str,
) -> None:
    x = pictures(2, 3)
    shuffled = x.flatten(2)[..., torch.randperm(144, generator=torch.Generator())].view_as(x)
    for moved in (x.flip(-1), x.mT, x.roll(5, -2), shuffled):
        assert torch.allclose(pooled_BF([moved], statistics), pooled_BF([x], statistics))  # type: ignore[arg-type]  # a parameter of a test is a plain str
    flat = torch.ones(1, 2, 4, 4, requires_grad=True)
    pooled_BF([flat], statistics).sum().backward()  # type: ignore[arg-type, no-untyped-call]  # as above
    assert flat.grad is not None and flat.grad.isfinite().all()


def test_standardised_by_hand() -> None:
    of = torch.tensor([[1.0, 5.0], [3.0, 5.0]])  # 2 +- 1, and always 5
    rows = torch.tensor([[1.0, 5.0], [5.0, 5.0]], requires_grad=True)
    found = standardised(rows, of)
    assert found.tolist() == [[-1.0, 0.0], [3.0, 0.0]]


def test_what_all_features_share_in_size_and_place_is_gone() -> None:
    rows = pictures(6).flatten(1)
    wanted = standardised(rows, rows)
    assert torch.allclose(standardised(0.001 * rows + 7e-3, 0.001 * rows + 7e-3), wanted, atol=2e-2)
    assert torch.allclose(wanted.std(0, correction=0), torch.ones(144), atol=1e-4)


def test_a_generator_cannot_shrink_what_features_are_measured_by() -> None:
    rows = torch.tensor([[1.0], [3.0]], requires_grad=True)
    standardised(rows, rows).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert rows.grad is not None
    assert rows.grad.tolist() == [[1.0], [1.0]]  # 1 / deviation; were that derived too, 0


def test_units_are_tapped_at_thirds_of_the_body() -> None:
    assert tapped_units(18) == (5, 11, 17)  # VDSR
    assert tapped_units(32) == (10, 20, 31)  # EDSR
    assert tapped_units(3) == (0, 1, 2)
    assert tapped_units(2) == (0, 1)
    for units in range(1, 40):
        taps = tapped_units(units)
        assert taps[-1] == units - 1
        assert list(taps) == sorted(set(taps))


def test_the_projection_ends_on_the_unit_sphere() -> None:
    h = Projection(5, 3)
    h.initialise(Randomness(0, "projection").generator)
    rows = h(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 100)
    assert rows.shape == (6, 3)
    assert torch.allclose(rows.norm(dim=1), torch.ones(6))
    bound = 5**-0.5
    assert all(0.8 * bound < p.abs().max() <= bound for p in (h.widen.weight, h.project.weight))


# --- images in the teacher's eyes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "statistics", "numbers"),
    [(VDSR, "mean", 12), (EDSR, "mean", 12), (EDSR, "mean_std", 24)],
)
def test_features_are_those_of_three_body_maps(
    network: dict[str, object], statistics: str, numbers: int
) -> None:
    ours = contrast(network, statistics=statistics)
    x = pictures(3, 1 if network is VDSR else 3)
    found = ours.features_BF(x, 2)
    assert found.shape == (3, numbers)
    assert ours.banks[2].rows_KF.shape == (8, 2 * numbers)
    maps = ours.teacher.trace(x, scale=2, taps=(0, 2, 3)).taps
    assert torch.equal(found, pooled_BF(maps, statistics))  # type: ignore[arg-type]  # a parameter of a test is a plain str
    if network is VDSR:
        assert maps[0].shape[-2:] == (24, 24)  # the teacher upsamples what it is shown


def test_an_image_is_compared_with_the_batch_and_what_the_bank_holds() -> None:
    for banked, alike in ((0, 3), (2, 5), (8, 7)):  # 4 are drawn of 8
        ours = contrast(tau=1e6)  # at such a temperature nothing tells images apart
        ours.remember(pictures(banked) if banked else pictures(0), 2)
        loss = loss_of(ours, pictures(3), 2).item()
        wanted = math.log(alike) * (2 if banked else 1)
        assert loss == pytest.approx(wanted, rel=1e-3)


def test_gradients_reach_the_images_and_h_but_not_the_teacher() -> None:
    ours, x = contrast(), pictures().requires_grad_()
    ours.remember(pictures(), 2)
    loss_of(ours, x, 2).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in ours.h.parameters())
    assert all(p.grad is None for p in ours.teacher.parameters())


def test_a_bank_of_its_own_for_each_scale() -> None:
    ours = contrast()
    ours.remember(pictures(3), 3)
    assert [len(ours.banks[scale]) for scale in (2, 3)] == [0, 3]
    ours.remember(pictures(2), 3)
    ours.remember(pictures(1), 2)
    assert [len(ours.banks[scale]) for scale in (2, 3)] == [1, 5]


def test_a_bank_holds_two_views_of_each_image_not_projected() -> None:
    ours = contrast()
    flat = torch.full((2, 1, 12, 12), 0.5)
    ours.remember(flat, 2)
    local, whole = ours.banks[2].rows_KF[:2].chunk(2, dim=1)
    # An enlarged window of a flat image is the flat image; a shifted one has a black rim.
    assert torch.allclose(local, ours.features_BF(flat, 2), rtol=1e-4)
    assert not torch.allclose(whole, local, rtol=1e-2)
    assert not ours.banks[2].rows_KF.requires_grad


def test_h_learns_to_tell_images_apart() -> None:
    ours, x = contrast(), pictures(8)
    losses = []
    for step in range(60):
        loss = loss_of(ours, x, 2)
        ours.optimiser.begin(step)
        ours.optimiser.descend(loss)
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize("network", [VDSR, EDSR])
def test_under_bfloat16_the_comparison_stays_float32(
    network: dict[str, object], request: pytest.FixtureRequest
) -> None:
    x = pictures(3, 1 if network is VDSR else 3)
    losses = []
    for enabled in (False, True):
        ours = contrast(network)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            ours.remember(x, 2)
            losses.append(loss_of(ours, x, 2))
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.05)


def test_the_seed_decides_h_and_the_views() -> None:
    one, same, other = contrast(), contrast(), contrast(seed=1)
    assert loss_of(one, pictures(), 2).item() == loss_of(same, pictures(), 2).item()
    assert not torch.equal(one.h.widen.weight, other.h.widen.weight)
