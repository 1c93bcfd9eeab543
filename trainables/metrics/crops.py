"""Cuts and converts images as a protocol compares them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]


def centre(name: str, array: Pixels, crop: int | None) -> Pixels:
    """Return the central square of an image, `crop` pixels wide; all of it for None.

    Raises:
        ValueError: the image is smaller; its `name` begins the message.
    """
    if crop is None:
        return array
    height, width = array.shape[:2]
    if min(height, width) < crop:
        rule = f"smaller than heldout.crop {crop}; make it smaller, or null for whole images"
        raise ValueError(f"{name} is {width}x{height}, {rule}")
    top, left = (height - crop) // 2, (width - crop) // 2
    return array[top : top + crop, left : left + crop]


def multiple_of(array: Pixels, scale: int, *, cumulative: bool) -> Pixels:
    """Return the top left part of an image whose sides are multiples of `scale`.

    Args:
        array: H W 3.
        scale: the upscaling factor.
        cumulative: cut to a multiple of 2 first, then of 3, then of 4, up to `scale`.
    """
    height, width = array.shape[:2]
    earlier = [step for step in (2, 3, 4) if cumulative and step < scale]
    for step in (*earlier, scale):
        height, width = height // step * step, width // step * step
    return array[:height, :width]


def shaved(x_BCHW: Tensor, border: int) -> Tensor:
    """Return images without the outer `border` pixels, at least 1, of each side."""
    return x_BCHW[..., border:-border, border:-border]


def unit_B3HW(hr_HWC: Pixels) -> Tensor:
    """Convert bytes to a batch of one, float64 in [0, 1]."""
    planes_CHW = torch.tensor(hr_HWC).permute(2, 0, 1).contiguous()  # while they are bytes
    return planes_CHW[None].double().div_(255)
