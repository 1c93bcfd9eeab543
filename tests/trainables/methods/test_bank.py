from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from trainables.methods.bank import Bank
from trainables.values import Randomness


def numbered(first: int, count: int) -> Tensor:
    """Rows whose every number says when they came."""
    return torch.arange(first, first + count, dtype=torch.float32)[:, None].expand(count, 2)


def drawn_from(bank: Bank, count: int, randomness: Randomness) -> Tensor:
    return bank.rows_KF[bank.draw(count, randomness)]


def held(bank: Bank) -> list[int]:
    return sorted(int(row) for row in drawn_from(bank, len(bank), Randomness(0, "bank"))[:, 0])


def test_the_first_in_is_the_first_out() -> None:
    bank, seen = Bank(5, 2), []
    for push in range(4):
        bank.push(numbered(1 + 3 * push, 3))
        seen.append(held(bank))
    assert seen == [[1, 2, 3], [2, 3, 4, 5, 6], [5, 6, 7, 8, 9], [8, 9, 10, 11, 12]]


def test_rows_that_reach_over_the_end_go_on_at_the_beginning() -> None:
    bank = Bank(4, 2)
    bank.push(numbered(1, 3))
    bank.push(numbered(4, 4))
    assert bank.rows_KF[:, 0].tolist() == [5, 6, 7, 4]
    assert bank.pushed == 7


@pytest.mark.parametrize(("size", "count"), [(1, 1), (5, 5), (6, 3)])
def test_a_full_bank_that_is_filled_anew_holds_the_new(size: int, count: int) -> None:
    bank = Bank(size, 2)
    for push in range(1, 2 * size // count + 1):
        bank.push(numbered(push * count, count))
    assert len(bank) == size
    assert held(bank) == list(range(bank.pushed + count - size, bank.pushed + count))


def test_what_is_not_filled_is_never_drawn() -> None:
    bank, randomness = Bank(100, 2), Randomness(0, "bank")
    assert drawn_from(bank, 7, randomness).shape == (0, 2)
    bank.push(numbered(1, 3))
    for count in (1, 2, 3, 50):
        drawn = drawn_from(bank, count, randomness)[:, 0].tolist()
        assert len(drawn) == len(set(drawn)) == min(count, 3)
        assert set(drawn) <= {1, 2, 3}


def test_every_filled_row_is_drawn_as_often() -> None:
    bank, randomness = Bank(8, 2), Randomness(0, "bank")
    bank.push(numbered(0, 4))
    drawn = torch.cat([drawn_from(bank, 2, randomness)[:, 0] for _ in range(2000)])
    counts = torch.bincount(drawn.long(), minlength=4)
    assert len(counts) == 4
    assert (counts - 1000).abs().max() < 120


def test_more_rows_than_it_has_places_are_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="3 rows"):
        Bank(2, 2).push(numbered(0, 3))


def test_rows_carry_no_gradient_and_are_copies() -> None:
    bank, rows = Bank(4, 2), torch.ones(2, 2, requires_grad=True)
    bank.push(rows)
    drawn = drawn_from(bank, 2, Randomness(0, "bank"))
    assert not drawn.requires_grad
    bank.push(numbered(5, 4))
    assert drawn.eq(1.0).all()


@pytest.mark.parametrize("pushes", [1, 3, 4])
def test_a_bank_taken_on_goes_on_alike(pushes: int) -> None:
    bank, other = Bank(5, 2), Bank(5, 2)
    other.push(numbered(90, 4))  # forgotten
    for push in range(pushes):
        bank.push(numbered(3 * push, 3))
    state = copy.deepcopy(bank.state_dict())
    assert len(state["rows"]) == min(3 * pushes, 5)  # a checkpoint holds what is filled
    other.load_state_dict(state)
    for each in (bank, other):
        each.push(numbered(50, 2))
    assert torch.equal(bank.rows_KF, other.rows_KF)
    assert len(bank) == len(other)
