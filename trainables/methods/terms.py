"""Losses that several methods share."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

LossName = Literal["l1_mean", "mse_sum"]


def distance(a_BCHW: Tensor, b_BCHW: Tensor, loss: LossName, loss_range: float) -> Tensor:
    """Compute the distance of two batches of images in [0, 1]: a scalar, 0 where they are equal.

    Args:
        a_BCHW: images.
        b_BCHW: images of the same shape.
        loss: `l1_mean`: the papers' 1/n ||a - b||_1, n the number of elements; `mse_sum`: the
            squared error summed over the batch, as in the released VDSR code.
        loss_range: images are scaled to 0..loss_range.

    >>> import torch
    >>> a, b = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)
    >>> distance(a, b, "l1_mean", 255).item(), distance(a, b, "mse_sum", 1).item()
    (127.5, 1.0)
    """
    if loss == "l1_mean":
        return (a_BCHW - b_BCHW).abs().mean() * loss_range
    return (a_BCHW - b_BCHW).square().sum() * loss_range**2
