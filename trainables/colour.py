"""Converts RGB to luma as MATLAB's `rgb2ycbcr` does (BT.601), and replaces the luma of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainables.resample import round_half_up

_OFFSET = 16 / 255
_WEIGHTS = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_LUMA_RANGE = sum(_WEIGHTS)
"""219 / 255: the luma of white minus that of black."""


def luma_B1HW(rgb_B3HW: Tensor) -> Tensor:
    """Compute the luma of images: `(16 + 65.481 R + 128.553 G + 24.966 B) / 255`, unrounded.

    Args:
        rgb_B3HW: floating-point RGB in [0, 1]; any number of leading dimensions.

    Returns:
        Y, one channel, from 16/255 (black) to 235/255 (white).

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
    """Replace the luma of RGB images, keeping Cb and Cr: the RGB image of a luma network's result.

    In YCbCr, Y enters red, green and blue with the same weight, 255/219, so the conversion there
    and back is one addition.

    Args:
        rgb_B3HW: RGB in [0, 1].
        luma: B 1 H W, on the scale of `luma_B1HW`.

    Returns:
        RGB, B 3 H W; colours outside of RGB are outside [0, 1], not clipped.
    """
    return rgb_B3HW + (luma - luma_B1HW(rgb_B3HW)) / _LUMA_RANGE


def is_grey(image_HWC: NDArray[np.uint8]) -> bool:
    """Whether the three channels of an image are equal, however its file stores them."""
    red, green, blue = image_HWC[..., 0], image_HWC[..., 1], image_HWC[..., 2]
    return np.array_equal(red, green) and np.array_equal(green, blue)


def round_to_bytes(image: Tensor) -> Tensor:
    """Round [0, 1] to whole levels of 255, half up and clipped, as MATLAB's `im2uint8` does.

    >>> import torch
    >>> (round_to_bytes(torch.tensor([-0.2, 0.5, 1.3])) * 255).tolist()
    [0.0, 128.0, 255.0]
    """
    return round_half_up(image * 255) / 255
