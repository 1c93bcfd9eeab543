"""Losses that several methods share.

[SAFMN] Sun et al., "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution",
ICCV 2023; of it the term on the Fourier transform.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.values import Config

LossName = Literal["l1_mean", "mse_sum"]
PixelLossName = Literal["l1_mean", "charbonnier", "mse_sum"]

_EPSILON = 1e-3
"""eps of `charbonnier`, for images on [0, 1]."""


class FourierConfig(Config):
    """The part of the pixel loss that every method on real images has."""

    fft_weight: float = Field(default=0.0, ge=0.0)
    """Weight, beside the error against HR, of the mean L1 error of the two images' real Fourier
    transforms, not normalised; it is part of `loss/pixel`. [SAFMN]: 0.05; the papers of
    distillation: 0, which turns it off."""


class PixelConfig(FourierConfig):
    """The pixel loss of a method whose paper has the mean L1: how far SR is from HR.

    Errors against a teacher's result stay mean L1.
    """

    loss: Literal["l1_mean", "charbonnier"] = "l1_mean"
    """The error against HR: the papers' `l1_mean`; or `charbonnier`, the mean of
    sqrt(d^2 + 0.001^2) over the differences d on [0, 1], which is smooth where they vanish."""


PLAIN = PixelConfig()
"""The papers' pixel loss: the mean L1, alone."""


def distance(a_BCHW: Tensor, b_BCHW: Tensor, loss: PixelLossName, loss_range: float) -> Tensor:
    """Compute the distance of two batches of images in [0, 1]: least where they are equal.

    Args:
        a_BCHW: images.
        b_BCHW: images of the same shape.
        loss: `l1_mean`: the papers' 1/n ||a - b||_1, n the number of elements; `charbonnier`: the
            mean of sqrt((a - b)^2 + eps^2), eps = 0.001 on [0, 1], its least value; `mse_sum`: the
            squared error summed over the batch, as in the released VDSR code.
        loss_range: images are scaled to 0..loss_range.

    >>> import torch
    >>> a, b = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)
    >>> distance(a, b, "l1_mean", 255).item(), distance(a, b, "mse_sum", 1).item()
    (127.5, 1.0)
    """
    if loss == "l1_mean":
        return (a_BCHW - b_BCHW).abs().mean() * loss_range
    if loss == "charbonnier":
        return ((a_BCHW - b_BCHW).square() + _EPSILON**2).sqrt().mean() * loss_range
    return (a_BCHW - b_BCHW).square().sum() * loss_range**2


def fourier_distance(a_BCHW: Tensor, b_BCHW: Tensor, loss_range: float) -> Tensor:
    """Eq. ||F(a) - F(b)||_1 of [SAFMN]: the mean L1 error of two batches' Fourier transforms.

    F is the two-dimensional transform of real images, not normalised: H (W // 2 + 1) frequencies of
    each channel. The mean is over their real and imaginary parts. Images are in [0, 1], taken to
    span 0..`loss_range`.
    """
    gap_BCHW = a_BCHW - b_BCHW  # F is linear: one transform does
    wide_enough = torch.promote_types(gap_BCHW.dtype, torch.float32)  # there is none of bfloat16
    return torch.view_as_real(torch.fft.rfft2(gap_BCHW.to(wide_enough))).abs().mean() * loss_range


def pixel_error(
    sr_BCHW: Tensor, hr_BCHW: Tensor, loss: PixelLossName, loss_range: float, fft_weight: float
) -> Tensor:
    """Compute a method's error against true images: `distance`, and the weighted Fourier term.

    Without weight the transform is not computed.
    """
    error = distance(sr_BCHW, hr_BCHW, loss, loss_range)
    if fft_weight == 0.0:
        return error
    return error + fft_weight * fourier_distance(sr_BCHW, hr_BCHW, loss_range)
