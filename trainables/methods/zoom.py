"""New images out of training images: crops of the HR in its place, and the LR made smaller.

[DUKD] Zhang et al., "Data Upcycling Knowledge Distillation for Image Super-Resolution", 2023,
arXiv 2309.14162, and its release.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.resample import downsample_BCHW
from trainables.values import Randomness


def random_crops_BCHW(hr_BCHW: Tensor, side: int, crops: int, randomness: Randomness) -> Tensor:
    """Eq. HR_zi of [DUKD]: squares of `side` pixels cut from anywhere in the HR, each its own.

    B C H W to (crops B) C side side: all images in turn, `crops` times.
    """
    images, _, height, width = hr_BCHW.shape
    rows_BH, columns_BW = (
        torch.randint(length - side + 1, (crops * images, 1), generator=randomness.generator)
        + torch.arange(side)
        for length in (height, width)
    )
    which_B = torch.arange(images).repeat(crops)
    places = (which_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :])
    # Drawn on the host and sent without waiting: no crop is cut by its own call, none is awaited.
    image, row, column = (place.to(hr_BCHW.device, non_blocking=True) for place in places)
    return hr_BCHW[image, :, row, column].permute(0, 3, 1, 2)


def grid_tiles_BCHW(hr_BCHW: Tensor, side: int, tiles: int, randomness: Randomness) -> Tensor:
    """Not in [DUKD]: its release cuts HR_zi along a grid, the same tiles of every image.

    B C H W to (tiles B) C side side, no tile twice; H and W are multiples of `side`.
    """
    columns = hr_BCHW.shape[-1] // side
    count = hr_BCHW.shape[-2] // side * columns
    chosen = torch.randperm(count, generator=randomness.generator)[:tiles].tolist()
    corners = [(tile // columns * side, tile % columns * side) for tile in chosen]
    return torch.cat([hr_BCHW[..., y : y + side, x : x + side] for y, x in corners])


def zoomed_out_BCHW(lr_BCHW: Tensor, scale: int) -> Tensor:
    """Eq. LR_zo of [DUKD]: the LR made `scale` times smaller by bicubic; sides are rounded up."""
    return downsample_BCHW(lr_BCHW, scale)
