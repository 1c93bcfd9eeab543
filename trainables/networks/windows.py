"""Attention inside windows of 8 x 8 pixels: their borders, their masks, their padding."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.replay import constants

WINDOW = 8
"""Side of a window in all published super-resolution files of [SwinIR]."""
SHIFT = WINDOW // 2
"""How far the windows of every second layer are moved, so that neighbours meet."""
_APART = -100.0
"""What is added to the logits of pixels that only the shift brought together, as released."""


def to_windows(x_BHWF: Tensor) -> Tensor:
    """Cut into windows: (B windows) 64 F, row by row; sides must be multiples of 8."""
    images, height, width, features = x_BHWF.shape
    rows, columns = height // WINDOW, width // WINDOW
    cut = x_BHWF.view(images, rows, WINDOW, columns, WINDOW, features).transpose(2, 3)
    return cut.reshape(-1, WINDOW**2, features)


def from_windows(x_NKF: Tensor, height: int, width: int) -> Tensor:
    """The images B H W F that `to_windows` cut."""
    rows, columns, features = height // WINDOW, width // WINDOW, x_NKF.shape[-1]
    cut = x_NKF.view(-1, rows, columns, WINDOW, WINDOW, features).transpose(2, 3)
    return cut.reshape(-1, height, width, features)


@constants(maxsize=8)
def relative_positions(device: torch.device) -> Tensor:
    """For each pair of a window's 64 pixels, flat, the row of the bias table that is theirs.

    In released files this is the buffer `relative_position_index`.
    """
    with torch.inference_mode(mode=False):  # else it could never be used in a training step
        steps = torch.arange(WINDOW, device=device)
        rows, columns = (axis.flatten() for axis in torch.meshgrid(steps, steps, indexing="ij"))
        down = rows[:, None] - rows[None, :] + WINDOW - 1
        right = columns[:, None] - columns[None, :] + WINDOW - 1
        return (down * (2 * WINDOW - 1) + right).flatten()


@constants(maxsize=4)  # those of a large image fill tens of MiB
def shift_mask(height: int, width: int, device: torch.device) -> Tensor:
    """What to add to the logits, windows 64 64, of an image rolled by `SHIFT`: 0, or -100.

    Rolling brings opposite borders together in the last row and column of windows, where pixels
    of different borders must not see each other. In released files this is the buffer `attn_mask`,
    for one size of image only.
    """
    with torch.inference_mode(mode=False):
        region = 3 * _region(height, device)[:, None] + _region(width, device)[None, :]
        windows = to_windows(region[None, :, :, None])[..., 0]
        strangers = windows[:, None, :] != windows[:, :, None]
        return strangers.to(torch.float32) * _APART


def _region(side: int, device: torch.device) -> Tensor:
    """0, 1 or 2 along a rolled side: clear of the border, just before it, brought from afar."""
    place = torch.arange(side, device=device)
    return (place >= side - WINDOW).long() + (place >= side - SHIFT).long()


def mirrored(x_BCHW: Tensor, *, official: bool) -> Tensor:
    """Extend right and down to multiples of 8 by mirroring, as often as a tiny image needs.

    Args:
        x_BCHW: images of any size from 1 x 1 on.
        official: as [SwinIR]'s test script does: the border pixel is repeated, and one more window
            is added even where the side is a multiple already. Else as its network does: the
            border pixel is not repeated, and nothing is added without need.

    Returns:
        B C H' W', H' and W' multiples of 8; `x_BCHW` is its upper left corner.
    """
    for axis in (-2, -1):
        side = x_BCHW.shape[axis]
        wanted = (side // WINDOW + 1) * WINDOW if official else -(-side // WINDOW) * WINDOW
        if wanted > side:
            place = torch.arange(wanted, device=x_BCHW.device)
            period = 2 * side if official else max(2 * side - 2, 1)
            place = place % period
            source = torch.minimum(place, period - place - int(official))
            x_BCHW = x_BCHW.index_select(axis, source)
    return x_BCHW
