"""The resampler against a reference written from MATLAB's definition, pixel by pixel."""

from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
import pytest
import torch

from trainables.resample import (
    downsample_BCHW,
    resize_BCHW,
    resize_uint8,
    resize_weights,
    resized_side,
    upsample_BCHW,
)

SIDES = (1, 2, 3, 5, 8, 13, 24, 48)
SCALES = (
    2,
    3,
    4,
    8,
    Fraction(1, 2),
    Fraction(1, 3),
    Fraction(1, 4),
    Fraction(1, 8),
    0.7,
    0.5,
    1.5,
    Fraction(4, 3),
)


def keys_cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return (1.5 * x - 2.5) * x * x + 1
    if x < 2:
        return ((-0.5 * x + 2.5) * x - 4) * x + 2
    return 0.0


Array = np.ndarray[Any, np.dtype[np.float64]]


def reference_weights(side: int, scale: float, *, antialias: bool = True) -> Array:
    """imresize's `contributions`, 1-based as MATLAB has it, one weight after another."""
    out = ceil(round(side * scale, 6))
    stretch = scale if scale < 1 and antialias else 1.0
    width = 4 / stretch
    matrix = np.zeros((out, side))
    for x in range(1, out + 1):
        centre = x / scale + 0.5 * (1 - 1 / scale)
        taps = range(floor(centre - width / 2), ceil(centre + width / 2) + 1)
        total = sum(keys_cubic(stretch * (centre - tap)) for tap in taps)
        for tap in taps:
            source = tap
            while not 1 <= source <= side:  # the border is a mirror that repeats the edge
                source = 1 - source if source < 1 else 2 * side + 1 - source
            matrix[x - 1, source - 1] += keys_cubic(stretch * (centre - tap)) / total
    return matrix


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_weights_are_imresizes(side: int, scale: float) -> None:
    ours = resize_weights(side, scale)
    assert ours.shape == (resized_side(side, scale), side)
    np.testing.assert_allclose(ours, reference_weights(side, float(scale)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize(("height", "width"), [(7, 12), (12, 7), (1, 9), (24, 24)])
def test_both_sides_are_resized(height: int, width: int, scale: float) -> None:
    x = noise(2, 3, height, width)
    rows = reference_weights(height, float(scale))
    columns = reference_weights(width, float(scale))
    expected = np.einsum("ih,bchw,jw->bcij", rows, x.numpy(), columns)
    np.testing.assert_allclose(resize_BCHW(x, scale), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(resize_BCHW(x.float(), scale), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("scale", [2, 3, 4, Fraction(1, 2), Fraction(1, 3), 0.7], ids=str)
def test_gradient_is_the_adjoint(scale: float) -> None:
    x = noise(2, 1, 6, 9).requires_grad_()
    assert torch.autograd.gradcheck(lambda image: resize_BCHW(image, scale), x)
    y = noise(*resize_BCHW(x, scale).shape)
    (back,) = torch.autograd.grad(resize_BCHW(x, scale), x, y)
    assert torch.isclose((resize_BCHW(x, scale) * y).sum(), (x * back).sum())


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_a_flat_image_stays_flat(scale: float) -> None:
    flat = torch.full((1, 1, 10, 11), 0.3)
    np.testing.assert_allclose(resize_BCHW(flat, scale), 0.3, atol=1e-6)
    assert (resize_uint8((flat * 255).to(torch.uint8), scale) == 76).all()


def test_scale_one_changes_nothing() -> None:
    x = noise(1, 1, 5, 5)
    assert resize_BCHW(x, 1) is x
    assert resize_BCHW(x, 1.0) is x


def test_whole_scales_are_ratios() -> None:
    x = noise(1, 3, 12, 24)
    assert torch.equal(downsample_BCHW(x, 3), resize_BCHW(x, 1 / 3))
    assert torch.equal(upsample_BCHW(x, 3), resize_BCHW(x, 3.0))
    assert resized_side(10, 0.7) == 7


def test_shrinking_without_antialias_is_something_else() -> None:
    x = noise(1, 1, 24, 24)
    plain = torch.from_numpy(reference_weights(24, 0.5, antialias=False))
    assert (plain @ x @ plain.T - downsample_BCHW(x, 2)).abs().max() > 0.05
    other = torch.nn.functional.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True)
    assert (other - downsample_BCHW(x, 2)).abs().max() > 1e-3  # Pillow's borders


def test_bytes_are_rounded_after_each_pass_rows_first() -> None:
    x = (noise(3, 12, 18) * 255).to(torch.uint8)
    rows, columns = reference_weights(12, 0.5), reference_weights(18, 0.5)
    passes = np.clip(np.floor(rows @ x.numpy() + 0.5), 0, 255)
    passes = np.clip(np.floor(passes @ columns.T + 0.5), 0, 255)
    assert np.array_equal(resize_uint8(x, 0.5), passes)


def test_a_matrix_first_made_in_inference_can_be_trained_through() -> None:
    with torch.inference_mode():
        resize_BCHW(torch.zeros(1, 1, 37, 41), 2)  # sides no other test uses: not cached yet
    x = torch.zeros(1, 1, 37, 41, requires_grad=True)
    resize_BCHW(x, 2).square().sum().backward()
    assert x.grad is not None


def test_autocast_does_not_make_it_coarser() -> None:
    x = noise(1, 1, 12, 12, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(upsample_BCHW(x, 2), resize_BCHW(x, 2))
        cast = upsample_BCHW(x, 2)
    assert torch.equal(cast, upsample_BCHW(x, 2))
    assert cast.dtype == torch.float32
