"""Windows of 8 x 8 pixels for attention: partition, shift mask, relative positions, padding."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.replay import constants

WINDOW = 8
"""Side of a window in all published super-resolution files of [SwinIR]."""
SHIFT = WINDOW // 2
"""Shift in pixels of the windows of every second layer, which connects neighbouring windows."""
_APART = -100.0
"""Added to the logits of pixels that only the shift brings into one window, as released."""


def to_windows(x_BHWF: Tensor) -> Tensor:
    """Cut features into windows: B H W F to (B windows) 64 F, row by row; 8 divides H and W."""
    images, height, width, features = x_BHWF.shape
    rows, columns = height // WINDOW, width // WINDOW
    cut = x_BHWF.view(images, rows, WINDOW, columns, WINDOW, features).transpose(2, 3)
    return cut.reshape(-1, WINDOW**2, features)


def from_windows(x_NKF: Tensor, height: int, width: int) -> Tensor:
    """Join windows to features: the inverse of `to_windows`, (B windows) 64 F to B H W F."""
    rows, columns, features = height // WINDOW, width // WINDOW, x_NKF.shape[-1]
    cut = x_NKF.view(-1, rows, columns, WINDOW, WINDOW, features).transpose(2, 3)
    return cut.reshape(-1, height, width, features)


@constants(maxsize=8)
def relative_positions(device: torch.device) -> Tensor:
    """Return the row of the bias table for each pair of a window's pixels: int64, (64 * 64,).

    In released files this is the buffer `relative_position_index`.
    """
    with torch.inference_mode(mode=False):  # else it could not be used in a training step
        steps = torch.arange(WINDOW, device=device)
        rows, columns = (axis.flatten() for axis in torch.meshgrid(steps, steps, indexing="ij"))
        down = rows[:, None] - rows[None, :] + WINDOW - 1
        right = columns[:, None] - columns[None, :] + WINDOW - 1
        return (down * (2 * WINDOW - 1) + right).flatten()


@constants(maxsize=4)  # for a large image they take tens of MiB
def shift_mask(height: int, width: int, device: torch.device) -> Tensor:
    """Return the mask added to the logits of an image rolled by `SHIFT`: windows 64 64, 0 or -100.

    Rolling brings opposite borders together in the last row and column of windows, where pixels of
    different borders must not attend to each other. In released files this is the buffer
    `attn_mask`, for one image size only.
    """
    with torch.inference_mode(mode=False):
        region = 3 * _region(height, device)[:, None] + _region(width, device)[None, :]
        windows = to_windows(region[None, :, :, None])[..., 0]
        apart = windows[:, None, :] != windows[:, :, None]
        return apart.to(torch.float32) * _APART


def _region(side: int, device: torch.device) -> Tensor:
    """Number the regions of a rolled side: 0 before the last window, in it 1, then 2 (wrapped)."""
    place = torch.arange(side, device=device)
    return (place >= side - WINDOW).long() + (place >= side - SHIFT).long()


def mirrored(x_BCHW: Tensor, *, official: bool) -> Tensor:
    """Pad images on the right and below to multiples of 8 by mirroring, repeatedly if tiny.

    Args:
        x_BCHW: images of any size from 1 x 1 on.
        official: whether to pad as [SwinIR]'s test script: the border pixel is repeated, and a
            window is added even if the side is a multiple already. Else as its network: the border
            pixel is not repeated, and only the necessary pixels are added.

    Returns:
        B C H' W', H' and W' multiples of 8; `x_BCHW` is its upper left corner.
    """
    for axis in (-2, -1):
        side = x_BCHW.shape[axis]
        wanted = ((side + (0 if official else -1)) // WINDOW + 1) * WINDOW
        # While `torch.export` traces, sides are symbols: the graph pads, by nothing where it fits.
        if torch.compiler.is_exporting() or wanted > side:
            place = torch.arange(wanted, device=x_BCHW.device)
            period = 2 * side if official else 2 * side - 2 if side > 1 else 1
            place = place % torch.full_like(place, period)  # which ONNX can express
            source = torch.minimum(place, period - place - int(official))
            x_BCHW = x_BCHW.index_select(axis, source)
    return x_BCHW
