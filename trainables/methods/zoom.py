"""DUKD's zoom-in and zoom-out: crops of HR images as inputs, and LR images made smaller.

[DUKD] Zhang et al., "Data Upcycling Knowledge Distillation for Image Super-Resolution", 2023,
arXiv 2309.14162, and its release.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.resample import downsample_BCHW
from trainables.values import Randomness


def random_corners_N2(shape: torch.Size, side: int, crops: int, randomness: Randomness) -> Tensor:
    """Eq. HR_zi of [DUKD]: corners of squares of `side` pixels anywhere in the HR, each its own.

    Returns the rows and columns of (crops B) upper left corners for HR images of `shape` B C H W:
    all images in turn, `crops` times; drawn on the host.
    """
    images, _, height, width = shape
    return torch.cat(
        [
            torch.randint(length - side + 1, (crops * images, 1), generator=randomness.generator)
            for length in (height, width)
        ],
        dim=1,
    )


def grid_corners_N2(shape: torch.Size, side: int, tiles: int, randomness: Randomness) -> Tensor:
    """Not in [DUKD]: its release cuts HR_zi along a grid, the same tiles of every image.

    Returns (tiles B) corners as `random_corners_N2` does, of `tiles` different tiles; H and W are
    multiples of `side`.
    """
    images, _, height, width = shape
    columns = width // side
    count = height // side * columns
    chosen_N = torch.randperm(count, generator=randomness.generator)[:tiles]
    corners_N2 = torch.stack([chosen_N // columns * side, chosen_N % columns * side], dim=1)
    return corners_N2.repeat_interleave(images, dim=0)


def cut_BCHW(hr_BCHW: Tensor, corners_N2: Tensor, side: int) -> Tensor:
    """Cut squares of `side` pixels with the upper left corners `corners_N2`, all images in turn.

    B C H W to N C side side, by one gather on the device of both arguments; N is a multiple of B.
    """
    along = torch.arange(side, device=hr_BCHW.device)
    which_N = torch.arange(len(corners_N2), device=hr_BCHW.device) % len(hr_BCHW)
    rows_NH, columns_NW = (corners_N2[:, axis, None] + along for axis in (0, 1))
    cut_NHWC = hr_BCHW[which_N[:, None, None], :, rows_NH[:, :, None], columns_NW[:, None, :]]
    return cut_NHWC.permute(0, 3, 1, 2)


def zoomed_out_BCHW(lr_BCHW: Tensor, scale: int) -> Tensor:
    """Eq. LR_zo of [DUKD]: the LR made `scale` times smaller by bicubic; sides are rounded up."""
    return downsample_BCHW(lr_BCHW, scale)
