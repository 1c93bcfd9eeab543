from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.methods.invertible import OPERATIONS, Augmentation, OperationName
from trainables.values import Randomness

CPU = torch.device("cpu")
PAPER: tuple[OperationName, ...] = ("inversion", "hflip", "vflip", "transpose")
ALL: tuple[OperationName, ...] = (*PAPER, "rot90")
QUARTERS = torch.arange(48.0).view(1, 3, 4, 4) / 64
"""No two pixels alike, no symmetry, and nothing that 1 - x rounds."""


def happening(names: tuple[OperationName, ...], *counts: list[int]) -> Augmentation:
    """`counts[i][b]`: how often the operation number i happens to sample b."""
    steps = zip(names, counts, strict=True)
    return Augmentation(tuple((OPERATIONS[name], torch.tensor(each)) for name, each in steps))


def every(names: tuple[OperationName, ...]) -> Augmentation:
    """One sample for each combination of counts."""
    counts = product(*(range(OPERATIONS[name].order) for name in names))
    return happening(names, *(list(each) for each in zip(*counts, strict=True)))


def samples(augmentation: Augmentation, x_1CHW: Tensor) -> Tensor:
    return x_1CHW.repeat(len(augmentation.steps[0][1]), 1, 1, 1)


# --- each operation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("inversion", [[0.75, 0.5], [0.25, 0.0]]),
        ("hflip", [[0.5, 0.25], [1.0, 0.75]]),
        ("vflip", [[0.75, 1.0], [0.25, 0.5]]),
        ("transpose", [[0.25, 0.75], [0.5, 1.0]]),
        ("rot90", [[0.5, 1.0], [0.25, 0.75]]),
    ],
)
def test_each_operation_by_hand(name: OperationName, result: list[list[float]]) -> None:
    x = torch.tensor([[[[0.25, 0.5], [0.75, 1.0]]]])
    augmentation = happening((name,), [1])
    assert augmentation.apply(x)[0, 0].tolist() == result
    assert torch.equal(augmentation.undo(augmentation.apply(x)), x)


@pytest.mark.parametrize("name", ALL)
def test_an_operation_is_the_identity_after_as_many_times_as_its_order_and_no_fewer(
    name: OperationName,
) -> None:
    operation, x = OPERATIONS[name], QUARTERS
    for times in range(1, operation.order + 1):
        x = operation.once(x)
        assert torch.equal(x, QUARTERS) == (times == operation.order)


def test_inversion_does_not_clamp() -> None:
    augmentation = happening(("inversion",), [1])
    x = torch.tensor([-0.25, 1.5]).view(1, 1, 1, 2)
    assert augmentation.apply(x).flatten().tolist() == [1.25, -0.5]
    assert torch.equal(augmentation.undo(augmentation.apply(x)), x)


# --- all of them --------------------------------------------------------------------------------


def test_every_one_of_the_16_combinations_is_undone() -> None:
    augmentation = every(PAPER)
    x = samples(augmentation, QUARTERS)
    changed = augmentation.apply(x)
    assert len(x) == 16
    # Flips and transposition generate the eight symmetries of a square; inversion doubles them.
    assert len({tuple(each.flatten().tolist()) for each in changed}) == 16
    assert torch.equal(augmentation.undo(changed), x)


@pytest.mark.parametrize("names", [ALL, ALL[::-1], ("rot90", "hflip"), ("rot90",)])
def test_every_combination_with_rotations_is_undone_in_any_order(
    names: tuple[OperationName, ...],
) -> None:
    augmentation = every(names)
    x = samples(augmentation, QUARTERS)
    assert torch.equal(augmentation.undo(augmentation.apply(x)), x)
    assert torch.equal(augmentation.apply(augmentation.undo(x)), x)


def test_each_sample_has_its_own() -> None:
    augmentation = happening(("hflip", "rot90"), [0, 1, 0, 1], [0, 0, 3, 2])
    x = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    changed = augmentation.apply(x)
    assert torch.equal(changed[0], x[0])
    assert torch.equal(changed[1], x[1].flip(-1))
    assert torch.equal(changed[2], x[2].rot90(3, (-2, -1)))
    assert torch.equal(changed[3], x[3].flip(-1).rot90(2, (-2, -1)))


def test_what_a_network_enlarged_is_undone_as_well() -> None:
    augmentation = every(PAPER)
    x = samples(augmentation, QUARTERS)
    enlarged = augmentation.apply(x).repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert torch.equal(augmentation.undo(enlarged), samples(augmentation, large(QUARTERS)))


def large(x: Tensor) -> Tensor:
    return x.repeat_interleave(3, -1).repeat_interleave(3, -2)


def test_a_gradient_arrives_where_its_pixel_came_from() -> None:
    augmentation = every(PAPER)
    x = samples(augmentation, QUARTERS).requires_grad_()
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    loss = (weights * augmentation.undo(augmentation.apply(x))).sum()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert x.grad is not None
    assert torch.equal(x.grad, weights)


# --- the released order -------------------------------------------------------------------------


def undone_as_released(augmentation: Augmentation, y: Tensor) -> Tensor:
    """The operations once more, in the order in which they were applied."""
    return augmentation.apply(y)


def test_the_released_order_fails_for_a_transposition_and_one_flip() -> None:
    augmentation = every(PAPER)
    x = samples(augmentation, QUARTERS)
    failed = undone_as_released(augmentation, augmentation.apply(x)) != x
    _, h, v, t = (times for _, times in augmentation.steps)
    assert torch.equal(failed.any((1, 2, 3)), (t == 1) & (h != v))
    turned = undone_as_released(augmentation, augmentation.apply(x))[(t == 1) & (h != v)]
    assert torch.equal(turned, QUARTERS.rot90(2, (-2, -1)).expand_as(turned))


def test_the_released_order_fails_for_one_sample_in_eight() -> None:
    each = every(PAPER)
    x = samples(each, QUARTERS)
    failed = (undone_as_released(each, each.apply(x)) != x).any((1, 2, 3))
    counts = torch.stack([times for _, times in each.steps])
    chances = torch.where(counts == 1, 0.3, 0.7).prod(0)
    assert chances[failed].sum().item() == pytest.approx(0.126)
    assert chances.sum().item() == pytest.approx(1.0)
    drawn = Augmentation.draw(PAPER, 0.3, 20_000, Randomness(0, "augmentation"), CPU)
    x = samples(drawn, QUARTERS[:, :1, :2, :2])
    failed = (undone_as_released(drawn, drawn.apply(x)) != x).any((1, 2, 3))
    assert failed.float().mean().item() == pytest.approx(0.126, abs=0.01)
    assert torch.equal(drawn.undo(drawn.apply(x)), x)


# --- drawing ------------------------------------------------------------------------------------


def draw(names: tuple[OperationName, ...], probability: float, *, seed: int = 0) -> Tensor:
    randomness = Randomness(seed, "augmentation")
    drawn = Augmentation.draw(names, probability, 20_000, randomness, CPU)
    assert [operation for operation, _ in drawn.steps] == [OPERATIONS[name] for name in names]
    return torch.stack([times for _, times in drawn.steps]).double()


def test_each_operation_happens_with_its_probability_independently() -> None:
    counts = draw(PAPER, 0.3)
    assert counts.mean(1).tolist() == pytest.approx([0.3] * 4, abs=0.015)
    assert torch.corrcoef(counts).fill_diagonal_(0.0).abs().max() < 0.03


def test_a_quarter_turn_happens_one_to_three_times_equally_likely() -> None:
    shares = draw(("rot90",), 0.3)[0].long().bincount() / 20_000
    assert shares.tolist() == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=0.015)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_never_and_always(probability: float) -> None:
    assert (draw(PAPER, probability) == probability).all()


def test_nothing_to_draw_is_the_identity_and_leaves_the_stream_alone() -> None:
    randomness = Randomness(0, "augmentation")
    before: Any = randomness.state_dict()["state"]
    drawn = Augmentation.draw((), 0.3, 4, randomness, CPU)
    assert torch.equal(randomness.state_dict()["state"], before)
    assert drawn.undo(drawn.apply(QUARTERS)) is QUARTERS


def test_the_stream_decides() -> None:
    assert torch.equal(draw(ALL, 0.3), draw(ALL, 0.3))
    assert not torch.equal(draw(ALL, 0.3), draw(ALL, 0.3, seed=1))
