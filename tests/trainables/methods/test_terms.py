from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
import torch

from trainables.methods import METHODS
from trainables.methods.terms import (
    FourierConfig,
    PixelConfig,
    PixelLossName,
    distance,
    fourier_distance,
    pixel_error,
)
from trainables.run import Run
from trainables.values import Pairs

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
def test_distance_by_hand(loss: PixelLossName, loss_range: float, value: float) -> None:
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


def test_charbonnier_by_hand() -> None:
    # d = 1/2, 0, 1, 1/2 and eps = 0.001, both on [0, 1] and then on 0..loss_range
    by_hand = (2 * math.hypot(0.5, 1e-3) + 1e-3 + math.hypot(1.0, 1e-3)) / 4
    assert distance(A, B, "charbonnier", 1.0).item() == pytest.approx(by_hand)
    assert distance(A, B, "charbonnier", 255.0).item() == pytest.approx(255 * by_hand)
    assert distance(A, A, "charbonnier", 1.0).item() == pytest.approx(1e-3)
    a = A.clone().requires_grad_()
    distance(a, B, "charbonnier", 1.0).backward()  # d / sqrt(d^2 + eps^2) / 4: smooth at d = 0
    assert a.grad is not None
    slopes = [d / math.hypot(d, 1e-3) / 4 for d in (-0.5, 0.0, 1.0, -0.5)]
    assert a.grad.flatten().tolist() == pytest.approx(slopes)


def test_the_fourier_term_by_hand() -> None:
    # A - B = (-1/2, 0; 1, -1/2). Its four frequencies: the sum 0; columns 0 - 1/2 ... are real:
    # (0, 0): 0; (0, 1): -1/2 - 0 + 1 + 1/2 = 1; (1, 0): -1/2 + 0 - 1 + 1/2 = -1;
    # (1, 1): -1/2 - 0 - 1 - 1/2 = -2. The mean over four real and four imaginary parts: 4 / 8.
    assert fourier_distance(A, B, 1.0).item() == pytest.approx(0.5)
    assert fourier_distance(A, B, 255.0).item() == pytest.approx(127.5)
    # One pixel of a row of four: 1, -i, -1, of which three are kept (4 // 2 + 1): 3 / 6.
    row = torch.tensor([[[[0.0, 1.0, 0.0, 0.0]]]])
    assert fourier_distance(row, 0 * row, 1.0).item() == pytest.approx(0.5)
    assert fourier_distance(A, A, 255.0).item() == 0.0
    assert fourier_distance(A.bfloat16(), B.bfloat16(), 1.0).item() == pytest.approx(0.5)


def test_the_pixel_error_by_hand() -> None:
    assert pixel_error(A, B, "l1_mean", 255.0, 0.0).item() == 127.5
    assert pixel_error(A, B, "l1_mean", 255.0, 0.1).item() == pytest.approx(127.5 + 0.1 * 127.5)
    assert pixel_error(A, B, "mse_sum", 1.0, 2.0).item() == pytest.approx(1.5 + 2 * 0.5)


_ON_IMAGES = [name for name, method in METHODS.items() if method.batch is Pairs]


@pytest.mark.parametrize("name", _ON_IMAGES)
def test_every_method_on_images_has_the_terms_and_its_losses_follow_them(
    name: str, make_run: Callable[..., Run], draw_batch: Callable[[Run], Pairs]
) -> None:
    """Of three twins the first update is on one batch; its `loss/pixel` differs as said."""
    config = get_type_hints(METHODS[name].__init__)["config"]
    assert issubclass(config, FourierConfig if name == "scratch" else PixelConfig)
    first: dict[str, dict[str, float]] = {}
    terms: dict[str, dict[str, Any]] = {
        "plain": {"loss": "l1_mean"},
        "fourier": {"loss": "l1_mean", "fft_weight": 0.05},
        "charbonnier": {"loss": "charbonnier"},
    }
    for term, what in terms.items():
        run = make_run(name, student={"name": "edsr"}, method=what)
        first[term] = {k: float(v) for k, v in run.method.step(draw_batch(run)).items()}
    plain = first.pop("plain")
    assert first["fourier"]["loss/pixel"] > plain["loss/pixel"]
    # sqrt(d^2 + eps^2) lies above |d|, by eps at most.
    above = first["charbonnier"]["loss/pixel"] - plain["loss/pixel"]
    assert 0.0 < above <= 1e-3 * run.config.method.loss_range
    taught = [key for key in plain if key == "loss/kd"]
    for losses in first.values():  # the error against the teacher stays as it is
        assert [losses[key] for key in taught] == [plain[key] for key in taught]
