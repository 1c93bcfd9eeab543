from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.methods.affinity import (
    Maps,
    affinity_BNN,
    affinity_loss,
    layer_loss,
    unit_positions_BNF,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affinity_of(features_BFHW: Tensor) -> Tensor:
    units_BNF = unit_positions_BNF(features_BFHW)
    return affinity_BNN(units_BNF, units_BNF)


def plain_loss(student_BFHW: Tensor, teacher_BFHW: Tensor) -> Tensor:
    """As the paper draws it: whole affinities, and a gradient that torch finds."""
    affinities = []
    for features_BFHW in (student_BFHW, teacher_BFHW):
        features_BFN = features_BFHW.flatten(2)
        pairs = features_BFN[..., :, None], features_BFN[..., None, :]
        affinities.append(F.cosine_similarity(*pairs, dim=1))
    return (affinities[0] - affinities[1]).abs().mean()


# --- the equations ------------------------------------------------------------------------------


def test_unit_positions_by_hand() -> None:
    # Two features at 1 x 3 positions: (3, 4) of length 5, (0, 2), and nothing.
    features_BFHW = torch.tensor([[[[3.0, 0.0, 0.0]], [[4.0, 2.0, 0.0]]]])
    units_BNF = unit_positions_BNF(features_BFHW)
    expected = torch.tensor([[[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]]])
    torch.testing.assert_close(units_BNF, expected, rtol=0, atol=1e-6)


def test_affinity_by_hand() -> None:
    # Features along x, along y, and between: cosines of 90, 45 and 45 degrees.
    units_BNF = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])
    expected = torch.tensor([[[1.0, 0.0, 0.6], [0.0, 1.0, 0.8], [0.6, 0.8, 1.0]]])
    torch.testing.assert_close(affinity_BNN(units_BNF, units_BNF), expected)
    assert torch.equal(affinity_BNN(units_BNF[:, 1:2], units_BNF), expected[:, 1:2])


def test_affinity_loss_by_hand() -> None:
    same = torch.tensor([[[[2.0, 5.0]], [[0.0, 0.0]]]])  # both positions look along x
    apart = torch.tensor([[[[2.0, 0.0]], [[0.0, 9.0]]]])  # along x, along y
    against = torch.tensor([[[[2.0, -5.0]], [[0.0, 0.0]]]])
    # Off the diagonal, two of four entries: |1 - 0| for the first layer, |-1 - 1| for the second.
    assert affinity_loss([same], [apart], 1.0).item() == pytest.approx(2 / 4)
    assert affinity_loss([same, against], [apart, same], 1.0).item() == pytest.approx(2 / 4 + 4 / 4)
    assert affinity_loss([same, apart], [same, apart], 1.0).item() == 0.0


# --- what an affinity does not see --------------------------------------------------------------


def test_affinity_is_symmetric_with_a_unit_diagonal_and_entries_of_a_cosine() -> None:
    affinity = affinity_of(draw(2, 5, 4, 3))
    assert affinity.shape == (2, 12, 12)
    torch.testing.assert_close(affinity, affinity.mT, rtol=0, atol=1e-15)
    diagonal = affinity.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(diagonal, torch.ones_like(diagonal), rtol=0, atol=1e-6)
    assert affinity.abs().max() <= 1.0


def test_affinity_sees_neither_lengths_nor_the_number_and_order_of_features() -> None:
    features_BFHW = draw(2, 5, 4, 3)
    affinity = affinity_of(features_BFHW)
    turned = torch.linalg.qr(draw(5, 5, seed=1)).Q
    for same in (
        features_BFHW * (0.1 + draw(2, 1, 4, 3, seed=2).abs()),
        features_BFHW.flip(1),
        torch.cat([features_BFHW, torch.zeros(2, 3, 4, 3)], 1),
        torch.cat([features_BFHW, features_BFHW], 1),
        torch.einsum("ef,bfhw->behw", turned, features_BFHW),
    ):
        torch.testing.assert_close(affinity_of(same), affinity, rtol=0, atol=1e-5)
        assert affinity_loss([same], [features_BFHW], 1.0) < 1e-5


def test_positions_that_change_places_take_their_rows_and_columns_along() -> None:
    features_BFHW = draw(1, 5, 2, 3)
    flipped = affinity_of(features_BFHW.flip(2, 3))
    torch.testing.assert_close(flipped, affinity_of(features_BFHW).flip(1, 2))


def test_pooling_averages_squares_of_positions_first() -> None:
    features_BFHW, pooled = draw(2, 5, 6, 4), draw(2, 5, 3, 2)
    for row in range(3):
        for column in range(2):
            square = features_BFHW[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            pooled[:, :, row, column] = square.mean((2, 3))
    torch.testing.assert_close(unit_positions_BNF(features_BFHW, 2), unit_positions_BNF(pooled))
    other = draw(2, 3, 6, 4, seed=1)
    whole = affinity_loss([F.avg_pool2d(other, 2)], [pooled], 1.0)
    torch.testing.assert_close(affinity_loss([other], [features_BFHW], 1.0, pool=2), whole)


# --- in bands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 5, 11, 12])
def test_in_bands_it_is_what_the_whole_affinities_give_gradient_included(rows: int) -> None:
    student, teacher = draw(2, 5, 4, 3).requires_grad_(), draw(2, 7, 4, 3, seed=1)
    plain = plain_loss(student, teacher)
    (slope,) = torch.autograd.grad(plain, student)
    loss = layer_loss(student, teacher, rows)
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], slope, rtol=1e-5, atol=1e-9)


def test_the_gradient_is_that_of_finite_differences() -> None:
    student, teacher = draw(2, 3, 2, 3).requires_grad_(), draw(2, 4, 2, 3, seed=1)
    assert torch.autograd.gradcheck(lambda s: layer_loss(s, teacher, 2), (student,))


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # it is the point
def test_the_gradient_reaches_every_layer_of_the_student_and_none_of_the_teacher() -> None:
    ours = [draw(1, 5, 4, 4, seed=seed).requires_grad_() for seed in (1, 2, 3)]
    theirs = [draw(1, 7, 4, 4, seed=seed).requires_grad_() for seed in (4, 5, 6)]
    affinity_loss(ours, theirs, 1.0).backward()
    assert all(each.grad is not None and each.grad.abs().min() > 0 for each in ours)
    assert all(each.grad is None for each in theirs)
    # The form of a later re-release: a new tensor of the layers' numbers, with no way back.
    layers = [layer_loss(s, t, 16) for s, t in zip(ours, theirs, strict=True)]
    rewritten = torch.sum(torch.tensor(layers))
    torch.testing.assert_close(rewritten.double(), affinity_loss(ours, theirs, 1.0))
    assert not rewritten.requires_grad


def test_a_position_without_features_has_a_finite_gradient() -> None:
    student = draw(1, 5, 2, 2)
    student[:, :, 0, 0] = 0.0  # as a ReLU may leave it
    student.requires_grad_()
    affinity_loss([student.relu()], [draw(1, 5, 2, 2, seed=1)], 1.0).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_under_autocast_it_is_computed_in_float32_all_the_same() -> None:
    student, teacher = (draw(1, 5, 4, 4, seed=seed).float() for seed in (0, 1))
    exact = affinity_loss([student], [teacher], 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = affinity_loss([student], [teacher], 1.0)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)
    halves = affinity_loss([student.bfloat16()], [teacher.bfloat16()], 1.0)
    assert halves.dtype == torch.float32


# --- memory -------------------------------------------------------------------------------------


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that come to be while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.most = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {each.untyped_storage()._cdata for each in args if isinstance(each, Tensor)}
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given:
                storage = each.untyped_storage()
                self.alive[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, storage._cdata, None)
                self.largest = max(self.largest, storage.nbytes())
                self.most = max(self.most, sum(self.alive.values()))
        return result


@pytest.mark.parametrize(
    ("student", "teacher", "pool", "memory_gib"),
    [(16, 64, 1, 1.0), (16, 64, 1, 0.0025), (64, 16, 1, 0.006), (16, 64, 2, 1.0)],
)
def test_no_more_memory_is_taken_than_is_stated(
    student: int, teacher: int, pool: int, memory_gib: float
) -> None:
    ours = [draw(2, student, 24, 24).float().requires_grad_() for _ in range(3)]
    theirs = [draw(2, teacher, 24, 24).float() for _ in range(3)]
    maps = Maps.of(ours, theirs, pool)
    rows = maps.rows_within(memory_gib)
    with Peak() as peak:
        affinity_loss(ours, theirs, memory_gib, pool).backward()
    assert 0.6 * maps.bytes(rows) < peak.most <= maps.bytes(rows) <= memory_gib * 2**30
    if rows < maps.positions:
        assert peak.largest < 2 * 4 * maps.positions**2  # no affinity ever stands there whole


def test_a_processor_is_given_bands_that_its_cache_holds_whatever_is_allowed() -> None:
    student, teacher = (draw(1, 4, 48, 48, seed=seed).float() for seed in (0, 1))
    with Peak() as peak:
        affinity_loss([student], [teacher], 100.0)
    assert 2**21 < peak.largest <= 2**22 < 4 * 2304**2


def test_rows_are_as_many_as_fit_and_none_if_not_even_one_does() -> None:
    maps = Maps(images=16, positions=48 * 48, student_features=64, teacher_features=256, layers=3)
    assert maps.bytes(0) == 4 * 16 * 2304 * (10 * 64 + 2 * 256)
    assert maps.bytes(1) - maps.bytes(0) == 4 * 16 * 2304 * 2
    for gib in (0.2, 0.3, 0.5):
        rows = maps.rows_within(gib)
        assert maps.bytes(rows) <= gib * 2**30 < maps.bytes(rows + 1)
    assert maps.rows_within(100.0) == 48 * 48
    assert maps.rows_within(0.1) == 0
