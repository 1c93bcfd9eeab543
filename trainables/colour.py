"""Luma as MATLAB's `rgb2ycbcr` defines it (BT.601), and a picture given another luma."""

from __future__ import annotations

from torch import Tensor

from trainables.resample import round_half_up

_OFFSET = 16 / 255
_WEIGHTS = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_LUMA_RANGE = sum(_WEIGHTS)
"""219 / 255: what white has more luma than black."""


def luma_B1HW(rgb_B3HW: Tensor) -> Tensor:
    """The Y of an image: `(16 + 65.481 R + 128.553 G + 24.966 B) / 255`, unrounded.

    Args:
        rgb_B3HW: floating-point RGB in [0, 1]; any number of leading dimensions.

    Returns:
        Y on the same scale, which is that of `Y255 / 255`: from 16/255 (black) to 235/255.

    Example:
        >>> import torch
        >>> [round(float(luma_B1HW(torch.full((1, 3, 1, 1), v))) * 255) for v in (0.0, 1.0)]
        [16, 235]
    """
    assert rgb_B3HW.is_floating_point(), f"luma_B1HW takes floats, not {rgb_B3HW.dtype}"
    red, green, blue = rgb_B3HW.unbind(-3)
    luma = (_WEIGHTS[0] * red).add_(_OFFSET)
    luma = luma.add_(_WEIGHTS[1] * green).add_(_WEIGHTS[2] * blue)
    return luma.unsqueeze(-3)


def with_luma_B3HW(rgb_B3HW: Tensor, luma: Tensor) -> Tensor:
    """The picture whose Cb and Cr are those of `rgb_B3HW` and whose Y is `luma`.

    In YCbCr, Y enters red, green and blue by the same weight, 255/219: the way there and back is
    one addition. This is how the result of a luma network becomes a picture.

    Args:
        rgb_B3HW: RGB in [0, 1].
        luma: B 1 H W, on the scale of `luma_B1HW`.

    Returns:
        B 3 H W; colours that RGB does not have lie outside [0, 1], and are not clipped.
    """
    return rgb_B3HW + (luma - luma_B1HW(rgb_B3HW)) / _LUMA_RANGE


def round_to_bytes(image: Tensor) -> Tensor:
    """Round [0, 1] to whole levels of 255, half up and clipped, as MATLAB's `im2uint8` does.

    >>> import torch
    >>> (round_to_bytes(torch.tensor([-0.2, 0.5, 1.3])) * 255).tolist()
    [0.0, 128.0, 255.0]
    """
    return round_half_up(image * 255) / 255
