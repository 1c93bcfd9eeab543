"""Two random views of an image for [CMI]'s contrast: one shifted, one enlarged.

[CMI] Fang et al., "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021,
arXiv 2105.08584; its released code makes the views with kornia.

A view samples rows and columns separately, so it is a product of three matrices: one launch for a
whole batch, and a gradient whose sums have one order on every device. The sampled positions are
drawn on the host, before any work on the device begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.values import Randomness

PAD = 4
SMALLEST_AREA = 0.25
WIDEST = 4 / 3


Places = tuple[Tensor, Tensor]
"""The rows (B H) and columns (B W) that a view samples, in pixels of the image, on the host."""


def global_places(shape: Sequence[int], randomness: Randomness) -> Places:
    """Not in [DFSR+CMI]: [CMI]'s global view: pad 4 black pixels, crop to size, maybe mirror.

    `shape` is that of the images, B C H W.
    """
    images, _, height, width = shape
    shifts_2B1 = torch.randint(-PAD, PAD + 1, (2, images, 1), generator=randomness.generator)
    rows_BH = shifts_2B1[0] + torch.arange(height)
    columns_BW = shifts_2B1[1] + torch.arange(width)
    return rows_BH.float(), maybe_mirrored(columns_BW, randomness).float()


def local_places(shape: Sequence[int], randomness: Randomness) -> Places:
    """Not in [DFSR+CMI]: [CMI]'s local view: a quarter to all of the area enlarged, maybe mirrored.

    A window's aspect ratio is 3:4 to 4:3; sides are limited to the image's. Its sides and position
    are real numbers, since at 12 pixels there would be few whole ones.
    """
    images, _, height, width = shape
    uniform_4B1 = torch.rand(4, images, 1, generator=randomness.generator)
    area_B1 = SMALLEST_AREA + (1.0 - SMALLEST_AREA) * uniform_4B1[0]
    shape_B1 = WIDEST ** (2.0 * uniform_4B1[1] - 1.0)
    rows_BH = window_BN(height, (area_B1 / shape_B1).sqrt(), uniform_4B1[2])
    columns_BW = window_BN(width, (area_B1 * shape_B1).sqrt(), uniform_4B1[3])
    return rows_BH, maybe_mirrored(columns_BW, randomness)


def window_BN(side: int, share_B1: Tensor, place_B1: Tensor) -> Tensor:
    """Return the positions on a side of the image, in pixels, that an enlarged window samples: B N.

    Args:
        side: N, the side in pixels of the image and of the view.
        share_B1: the window's share of the side, at most 1; edge pixels are repeated.
        place_B1: the window's position along the side, from 0 to 1.

    >>> window_BN(4, torch.tensor([[0.5]]), torch.tensor([[1.0]]))
    tensor([[1.7500, 2.2500, 2.7500, 3.0000]])
    """
    length_B1 = share_B1.clamp(max=1.0) * side
    first_B1 = place_B1 * (side - length_B1)
    centres_BN = first_B1 + (torch.arange(side) + 0.5) * length_B1 / side - 0.5
    return centres_BN.clamp(0.0, side - 1.0)


def maybe_mirrored(columns_BW: Tensor, randomness: Randomness) -> Tensor:
    """Reverse each image's columns with probability 1/2."""
    coins_B1 = torch.rand(len(columns_BW), 1, generator=randomness.generator) < 0.5
    return torch.where(coins_B1, columns_BW.flip(1), columns_BW)


def sampled_BCHW(x_BCHW: Tensor, rows_BH: Tensor, columns_BW: Tensor) -> Tensor:
    """Sample each image at its own rows and columns: bilinear between pixels, 0 outside."""
    rows_B1HH = hats_BNN(rows_BH, x_BCHW.shape[-2])[:, None].to(x_BCHW)
    columns_B1WW = hats_BNN(columns_BW, x_BCHW.shape[-1])[:, None].to(x_BCHW)
    with torch.autocast(x_BCHW.device.type, enabled=False):  # bfloat16 would blur what it shifts
        return rows_B1HH @ x_BCHW @ columns_B1WW.mT


def hats_BNN(positions_BN: Tensor, side: int) -> Tensor:
    """Return the bilinear weights of the pixels of a side for each position: B N side.

    A pixel's weight falls linearly from 1 at distance 0 to 0 at distance 1.

    >>> hats_BNN(torch.tensor([[0.25, 2.0, -1.0]]), 3)
    tensor([[[0.7500, 0.2500, 0.0000],
             [0.0000, 0.0000, 1.0000],
             [0.0000, 0.0000, 0.0000]]])
    """
    pixels = torch.arange(side, device=positions_BN.device)
    return (1.0 - (positions_BN[..., None] - pixels).abs()).clamp(min=0.0)
