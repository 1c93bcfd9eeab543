from __future__ import annotations

import pytest
import torch

from trainables.methods.terms import LossName, distance

A = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
B = torch.tensor([[[[0.5, 0.5], [0.0, 0.75]]]])
# |A - B| = 1/2, 0, 1, 1/2: mean 1/2, squares 1/4 + 0 + 1 + 1/4.


@pytest.mark.parametrize(
    ("loss", "loss_range", "value"),
    [
        ("l1_mean", 1.0, 0.5),
        ("l1_mean", 255.0, 127.5),
        ("mse_sum", 1.0, 1.5),
        ("mse_sum", 2.0, 6.0),
    ],
)
def test_distance_by_hand(loss: LossName, loss_range: float, value: float) -> None:
    assert distance(A, B, loss, loss_range).item() == value
    assert distance(B, A, loss, loss_range).item() == value
    assert distance(A, A, loss, loss_range).item() == 0.0


def test_the_mean_forgets_how_many_images_there_are_and_the_sum_does_not() -> None:
    twice = A.repeat(2, 1, 1, 1), B.repeat(2, 1, 1, 1)
    assert distance(*twice, "l1_mean", 1.0).item() == 0.5
    assert distance(*twice, "mse_sum", 1.0).item() == 3.0


def test_gradients_by_hand() -> None:
    a = A.clone().requires_grad_()
    distance(a, B, "l1_mean", 255.0).backward()  # sign / 4 * 255
    assert a.grad is not None
    assert a.grad.flatten().tolist() == [-63.75, 0.0, 63.75, -63.75]
    a = A.clone().requires_grad_()
    distance(a, B, "mse_sum", 1.0).backward()  # 2 (a - b)
    assert a.grad is not None
    assert a.grad.flatten().tolist() == [-1.0, 0.0, 2.0, -1.0]
