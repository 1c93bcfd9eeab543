"""PSNR, SSIM, and the named protocols under which published tables report them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from trainables.values import Colour, ConfigError

PSNR_CEILING_DB = 100.0
"""PSNR of equal images, which would be infinite: no mean and no search could use that."""


@dataclass(frozen=True)
class SsimWindow:
    """How an SSIM looks at its surroundings.

    Attributes:
        taps: weights along one side of the square window, which is their outer product.
        data_range: the L of K1 L and K2 L, on the [0, 1] scale of the images.
        sample_covariance: divide by n - 1 rather than n.
    """

    taps: tuple[float, ...]
    data_range: float
    sample_covariance: bool


def _gaussian(side: int, sigma: float) -> tuple[float, ...]:
    bell = [math.exp(-0.5 * ((i - side // 2) / sigma) ** 2) for i in range(side)]
    return tuple(height / sum(bell) for height in bell)


STANDARD_SSIM = SsimWindow(_gaussian(11, 1.5), data_range=1.0, sample_covariance=False)
"""Of Wang et al., IEEE TIP 2004: Gaussian 11x11, sigma 1.5."""

LEGACY_SSIM = SsimWindow((1 / 7,) * 7, data_range=2 / 255, sample_covariance=True)
"""Of old scikit-image on float images of 0..255: it took L for 2, so C1 and C2 nearly vanish."""

_BAND = 16
"""Results of an SSIM window that one matrix product computes: few, or most factors are zero."""


@dataclass(frozen=True)
class Protocol:
    """One way of turning an image and its reconstruction into PSNR and SSIM.

    All compare luma, shave `scale` pixels from each side, and average over images. Numbers of
    two protocols cannot be compared: PSNR differs by up to 0.04 dB, SSIM by far more.

    Attributes:
        byte_images: LR images and results are RGB files of 8 bits; else nothing is ever rounded
            and LR is made from what the network sees.
        byte_luma: both lumas are rounded to whole levels before they are compared.
        cumulative_crop: an image is cropped to a multiple of 2, then of 3, then of 4, up to the
            scale, as the script does that wrote pytorch-vdsr's test files.
        ssim: the SSIM's window.
        rgb: whether an RGB network can be evaluated so.
    """

    byte_images: bool = False
    byte_luma: bool = False
    cumulative_crop: bool = False
    ssim: SsimWindow = STANDARD_SSIM
    rgb: bool = True


ProtocolName = Literal["yfloat", "y8", "rgb8", "rgb8_matlab", "cmi_legacy"]

PROTOCOLS: dict[str, Protocol] = {
    "yfloat": Protocol(),
    "y8": Protocol(byte_luma=True, rgb=False),
    "rgb8": Protocol(byte_images=True),
    "rgb8_matlab": Protocol(byte_images=True, byte_luma=True),
    "cmi_legacy": Protocol(cumulative_crop=True, ssim=LEGACY_SSIM, rgb=False),
}
"""yfloat: all of DFSR's tables, pytorch-vdsr. y8: the classic MATLAB tables. rgb8: BasicSR, DUKD,
EDSR-PyTorch, FAKD, CSD. rgb8_matlab: RCAN's evaluation. cmi_legacy: DFSR+CMI."""

assert set(PROTOCOLS) == set(get_args(ProtocolName)), "the type lists the table's keys"


def protocol_for(name: ProtocolName | None, colour: Colour) -> ProtocolName:
    """`name`, or what a network of this colour is compared by if there is none.

    Raises:
        ConfigError: the protocol is for luma networks, and the network is not one.
    """
    if name is None:
        return "yfloat" if colour == "y" else "rgb8"
    if colour == "rgb" and not PROTOCOLS[name].rgb:
        usable = ", ".join(key for key, protocol in PROTOCOLS.items() if protocol.rgb)
        raise ConfigError("protocol", f"{name} is for luma networks; an RGB network has {usable}")
    return name


def psnr_db(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image: `10 log10(1 / MSE)`.

    Args:
        a_BCHW: images in [0, 1].
        b_BCHW: what they should have been, same shape.

    Returns:
        B values in dB, float64, at most `PSNR_CEILING_DB`; nan where an image holds a nan.

    Example:
        >>> psnr_db(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)).round(decimals=2)
        tensor([6.0200], dtype=torch.float64)
    """
    assert a_BCHW.shape == b_BCHW.shape, f"{tuple(a_BCHW.shape)} != {tuple(b_BCHW.shape)}"
    mse = (a_BCHW.double() - b_BCHW.double()).square().mean(dim=(1, 2, 3))
    return (-10 * mse.log10()).clamp(max=PSNR_CEILING_DB)


def ssim(a_BCHW: Tensor, b_BCHW: Tensor, window: SsimWindow = STANDARD_SSIM) -> Tensor:
    """Structural similarity of each image: eq. (13) of Wang et al., IEEE TIP 2004, K 0.01, 0.03.

    The mean over channels and over the places where the window lies wholly inside the image.

    Args:
        a_BCHW: images in [0, 1], no side shorter than the window's.
        b_BCHW: what they should have been, same shape.
        window: its weights and constants.

    Returns:
        B values up to 1, float64: with the legacy window, float32 would lose the small variances
        that its small constants let count.
    """
    assert a_BCHW.shape == b_BCHW.shape, f"{tuple(a_BCHW.shape)} != {tuple(b_BCHW.shape)}"
    side = len(window.taps)
    assert min(a_BCHW.shape[-2:]) >= side, f"{tuple(a_BCHW.shape)} is smaller than {side}x{side}"
    a, b = a_BCHW.double(), b_BCHW.double()
    moments = a.new_empty(4, *a.shape)
    moments[0], moments[1] = a, b
    torch.mul(a, a, out=moments[2]).addcmul_(b, b)
    torch.mul(a, b, out=moments[3])
    mean_a, mean_b, squares, product = _windowed(moments, window).unbind()
    bias = side**2 / (side**2 - 1) if window.sample_covariance else 1.0
    c1, c2 = (0.01 * window.data_range) ** 2, (0.03 * window.data_range) ** 2
    # In place from here on: most of the time goes into moving numbers, not into computing them.
    means = mean_a * mean_b
    powers = mean_a.square_().addcmul_(mean_b, mean_b)
    covariance = product.sub_(means).mul_(2 * bias).add_(c2)
    variances = squares.sub_(powers).mul_(bias).add_(c2)
    similar = means.mul_(2).add_(c1).mul_(covariance)
    return similar.div_(powers.add_(c1).mul_(variances)).mean(dim=(1, 2, 3))


def _windowed(x: Tensor, window: SsimWindow) -> Tensor:
    """Weighted mean over every window that fits, along the last two axes.

    A few rows at a time, and then a few columns, times a narrow band matrix: in float64 ten times
    as fast as a convolution.
    """
    step, side = _BAND, len(window.taps)
    band = _band_on(window, x.device)
    flat = x.reshape(-1, *x.shape[-2:])
    images, height, width = len(flat), x.shape[-2] - side + 1, x.shape[-1] - side + 1
    rows = x.new_empty(images, height, x.shape[-1])
    for begin in range(0, height, step):
        count = min(step, height - begin)
        weights = band[:count, : count + side - 1].expand(images, -1, -1)
        torch.bmm(
            weights,
            flat[:, begin : begin + count + side - 1],
            out=rows[:, begin : begin + count],
        )
    rows = rows.view(images * height, -1)
    means = x.new_empty(images * height, width)
    for begin in range(0, width, step):
        count = min(step, width - begin)
        columns = rows[:, begin : begin + count + side - 1]
        weights = band[:count, : count + side - 1].mT
        torch.mm(columns, weights, out=means[:, begin : begin + count])
    return means.view(*x.shape[:-2], height, width)


@lru_cache(maxsize=16)
def _band_on(window: SsimWindow, device: torch.device) -> Tensor:
    """The taps, once for each of `_BAND` neighbouring results: row i weighs inputs i, i + 1, ..."""
    # Copying it for every image would make the host wait for the device as often.
    with torch.inference_mode(mode=False):
        band = torch.zeros(_BAND, _BAND + len(window.taps) - 1, dtype=torch.float64)
        for offset, tap in enumerate(window.taps):
            band.diagonal(offset).fill_(tap)
        return band.to(device)
