"""Reproduces MATLAB's bicubic `imresize` exactly, by two differentiable matrix products."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

from trainables.replay import constants

Scale = int | float | Fraction
"""Output size / input size: 2 enlarges, `Fraction(1, 2)` shrinks."""

KERNEL_SUPPORT = 4
"""Width of the cubic kernel in pixels, before it is stretched for shrinking."""

BAND_ROWS = 64
"""Output rows per matrix product: more would multiply zeros, fewer would make many small products.
"""


def resize_BCHW(x_BCHW: Tensor, scale: Scale) -> Tensor:
    """Resize both sides by `scale` as MATLAB's `imresize(x, scale, "bicubic")` does.

    Cubic kernel with a = -0.5 (Keys 1981, eq. 4), stretched by 1/scale when shrinking
    (antialias), edges repeated symmetrically, weights of every output pixel summing to 1.
    Nothing is rounded or clipped: values may leave [0, 1] a little beside sharp edges.

    Args:
        x_BCHW: floating-point images; any number of leading dimensions, any range.
        scale: output side / input side, above 0.

    Returns:
        Tensor of sides `ceil(side * scale)`, same dtype and device, differentiable in `x_BCHW`;
        `x_BCHW` itself when `scale` is 1.

    Example:
        >>> resize_BCHW(torch.ones(1, 1, 4, 6), 2).shape
        torch.Size([1, 1, 8, 12])
    """
    assert x_BCHW.is_floating_point(), f"resize_BCHW takes floats, not {x_BCHW.dtype}"
    ratio = _exact(scale)
    if ratio == 1:
        return x_BCHW
    # Autocast would compute the products in bfloat16; bicubic must be the same everywhere.
    with _without_autocast(x_BCHW.device.type):
        return _over_columns(_over_rows(x_BCHW, ratio), ratio)


def downsample_BCHW(x_BCHW: Tensor, scale: int) -> Tensor:
    """Shrink both sides by the whole number `scale` (antialiased); see `resize_BCHW`."""
    return resize_BCHW(x_BCHW, Fraction(1, scale))


def upsample_BCHW(x_BCHW: Tensor, scale: int) -> Tensor:
    """Enlarge both sides by the whole number `scale`; see `resize_BCHW`."""
    return resize_BCHW(x_BCHW, scale)


def resize_uint8(x_BCHW: Tensor, scale: Scale) -> Tensor:
    """Resize bytes as MATLAB resizes a uint8 array: rounded after each of the two passes.

    Rows first, half rounded up, clipped to 0..255 both times. Only this order reproduces the
    published LR files of Set5 without a single differing value.

    Args:
        x_BCHW: uint8 images, any number of leading dimensions.
        scale: output side / input side, above 0.

    Returns:
        uint8 tensor of sides `ceil(side * scale)`.
    """
    assert x_BCHW.dtype == torch.uint8, f"resize_uint8 takes uint8, not {x_BCHW.dtype}"
    ratio = _exact(scale)
    halfway = round_half_up(_over_rows(x_BCHW.double(), ratio))
    return round_half_up(_over_columns(halfway, ratio)).to(torch.uint8)


def round_half_up(x: Tensor) -> Tensor:
    """Round to the nearest whole number in 0..255 as MATLAB's `uint8()` does; stays float."""
    return (x + 0.5).floor().clamp(0, 255)


def resized_side(side: int, scale: Scale) -> int:
    """Return the pixels of a side after resizing: `ceil(side * scale)`, computed exactly."""
    return ceil(side * _exact(scale))


def resize_weights(side: int, scale: Scale) -> Tensor:
    """Return the matrix that resizes one side: row i has the weights of output pixel i.

    Args:
        side: input pixels, at least 1.
        scale: output pixels / input pixels, above 0.

    Returns:
        float64 CPU tensor of shape (ceil(side * scale), side); every row sums to 1.
    """
    ratio = float(_exact(scale))
    stretch = min(ratio, 1.0)
    support = KERNEL_SUPPORT / stretch
    out = torch.arange(resized_side(side, scale), dtype=torch.float64)
    centres = (out + 0.5) / ratio - 0.5
    first = (centres - support / 2).floor()
    taps = first[:, None] + torch.arange(ceil(support) + 2, dtype=torch.float64)
    weights = _cubic((centres[:, None] - taps) * stretch)
    weights = weights / weights.sum(dim=1, keepdim=True)
    # Symmetric border: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ..., as often as a wide kernel needs it.
    folded = taps.long() % (2 * side)
    source = torch.minimum(folded, 2 * side - 1 - folded)
    return torch.zeros(len(out), side, dtype=torch.float64).scatter_add_(1, source, weights)


def _without_autocast(device: str) -> AbstractContextManager[object]:
    # The meta device, on which a network's cost is counted, has no autocast.
    known = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if known else nullcontext()


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5: zero from |x| = 2 on."""
    near = 1.5 * x.abs() ** 3 - 2.5 * x.abs() ** 2 + 1
    far = -0.5 * x.abs() ** 3 + 2.5 * x.abs() ** 2 - 4 * x.abs() + 2
    return torch.where(x.abs() <= 1, near, torch.where(x.abs() <= 2, far, 0.0))


def _exact(scale: Scale) -> Fraction:
    """Convert `scale` to an exact ratio: 0.7 is 7/10, so that 10 pixels become 7, not 8."""
    ratio = Fraction(scale).limit_denominator(10_000)
    assert ratio > 0, f"scale must be above 0, not {scale}"
    return ratio


def _over_rows(x_BCHW: Tensor, ratio: Fraction) -> Tensor:
    bands = _bands_on(x_BCHW.shape[-2], ratio, x_BCHW.device, x_BCHW.dtype)
    parts = [band.weights @ x_BCHW[..., band.begin : band.end, :] for band in bands]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)


def _over_columns(x_BCHW: Tensor, ratio: Fraction) -> Tensor:
    bands = _bands_on(x_BCHW.shape[-1], ratio, x_BCHW.device, x_BCHW.dtype)
    parts = [x_BCHW[..., band.begin : band.end] @ band.weights.mT for band in bands]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


@dataclass(frozen=True)
class _Band:
    """Some rows of a resizing matrix, restricted to the pixels whose weights are not 0."""

    weights: Tensor
    begin: int
    end: int


@constants(maxsize=512)
def _bands_on(
    side: int,
    ratio: Fraction,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[_Band, ...]:
    """Return the matrix that resizes one side, as bands without most of its zeros."""
    # A matrix created in inference mode could not be used in a training step.
    with torch.inference_mode(mode=False):
        bands = []
        for rows in torch.split(resize_weights(side, ratio), BAND_ROWS):
            used = rows.any(dim=0).nonzero()
            begin, end = int(used[0]), int(used[-1]) + 1
            weights = rows[:, begin:end].to(device=device, dtype=dtype, copy=True)
            bands.append(_Band(weights, begin, end))
        return tuple(bands)
