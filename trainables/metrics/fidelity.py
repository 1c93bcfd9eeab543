"""Computes PSNR and SSIM, and defines the protocols under which published tables report them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, get_args

import torch
from torch import Tensor

from trainables.errors import ConfigError
from trainables.values import Colour

PSNR_CEILING_DB = 100.0
"""PSNR reported for equal images, for which it is infinite: no mean or search could use that."""


@dataclass(frozen=True)
class SsimWindow:
    """The window and constants of an SSIM.

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
"""The window of Wang et al., IEEE TIP 2004: Gaussian 11x11, sigma 1.5."""

LEGACY_SSIM = SsimWindow((1 / 7,) * 7, data_range=2 / 255, sample_covariance=True)
"""The window of old scikit-image for float images of 0..255: it set L to 2, so C1 and C2 nearly
vanish."""

_STRIP_ROWS = {"cpu": 16}
"""Rows of an SSIM map computed at a time, by device: few enough for a processor's cache."""

_STRIP_ROWS_ELSEWHERE = 64
"""The same on other devices: a GPU is limited by kernel launches rather than by memory."""


@dataclass(frozen=True)
class Protocol:
    """One way of turning an image and its reconstruction into PSNR and SSIM.

    All compare luma, shave `scale` pixels from each side, and average over images. Numbers of
    two protocols cannot be compared: PSNR differs by up to 0.04 dB, SSIM by far more.

    Attributes:
        byte_images: LR images and results are RGB of 8 bits; else nothing is rounded, and LR is
            made in the network's colour.
        byte_luma: both lumas are rounded to whole levels before they are compared.
        cumulative_crop: an image is cropped to a multiple of 2, then of 3, then of 4, up to the
            scale, as by the script that wrote pytorch-vdsr's test files.
        grey_as_luma: a grey picture is its own luma, from 0 to 255, as in MATLAB scripts that
            convert RGB files only; else it is RGB like any other, with a luma from 16 to 235.
        ssim: the window of the SSIM.
        rgb: whether RGB networks can be evaluated under it.
    """

    byte_images: bool = False
    byte_luma: bool = False
    cumulative_crop: bool = False
    grey_as_luma: bool = False
    ssim: SsimWindow = STANDARD_SSIM
    rgb: bool = True


ProtocolName = Literal["yfloat", "y8", "rgb8", "rgb8_matlab", "cmi_legacy"]

PROTOCOLS: dict[str, Protocol] = {
    "yfloat": Protocol(),
    "y8": Protocol(byte_luma=True, grey_as_luma=True, rgb=False),
    "rgb8": Protocol(byte_images=True),
    "rgb8_matlab": Protocol(byte_images=True, byte_luma=True),
    "cmi_legacy": Protocol(cumulative_crop=True, ssim=LEGACY_SSIM, rgb=False),
}
"""yfloat: all of DFSR's tables, pytorch-vdsr. y8: the classic MATLAB tables. rgb8: BasicSR, DUKD,
EDSR-PyTorch, FAKD, CSD. rgb8_matlab: RCAN's evaluation. cmi_legacy: DFSR+CMI."""

assert set(PROTOCOLS) == set(get_args(ProtocolName)), "the type lists the table's keys"


def protocol_for(name: ProtocolName | None, colour: Colour) -> ProtocolName:
    """Return `name`, or the default protocol of a colour if it is None.

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
    """Compute the peak signal-to-noise ratio of each image: `10 log10(1 / MSE)`.

    Args:
        a_BCHW: images in [0, 1].
        b_BCHW: reference images of the same shape.

    Returns:
        B values in dB, float64, at most `PSNR_CEILING_DB`; nan where an image holds a nan.

    Example:
        >>> psnr_db(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)).round(decimals=2)
        tensor([6.0200], dtype=torch.float64)
    """
    assert a_BCHW.shape == b_BCHW.shape, f"{tuple(a_BCHW.shape)} != {tuple(b_BCHW.shape)}"
    mse = (a_BCHW.double() - b_BCHW.double()).square_().mean(dim=(1, 2, 3))
    return (-10 * mse.log10()).clamp(max=PSNR_CEILING_DB)


def ssim(a_BCHW: Tensor, b_BCHW: Tensor, window: SsimWindow = STANDARD_SSIM) -> Tensor:
    """Compute the SSIM of each image: eq. (13) of Wang et al., IEEE TIP 2004, K 0.01 and 0.03.

    The mean over channels and over the positions where the window lies wholly inside the image.

    Args:
        a_BCHW: images in [0, 1], no side shorter than the window's.
        b_BCHW: reference images of the same shape.
        window: weights and constants.

    Returns:
        B values up to 1, float64: with the legacy window's small constants, small variances count,
        which float32 would lose.
    """
    assert a_BCHW.shape == b_BCHW.shape, f"{tuple(a_BCHW.shape)} != {tuple(b_BCHW.shape)}"
    side = len(window.taps)
    assert min(a_BCHW.shape[-2:]) >= side, f"{tuple(a_BCHW.shape)} is smaller than {side}x{side}"
    batch, channels, height, width = a_BCHW.shape
    strip = _Strip(window, height, width, a_BCHW.device)
    planes = zip(a_BCHW.double().flatten(0, 1), b_BCHW.double().flatten(0, 1), strict=True)
    scores = [_mean_similarity(strip, a_HW, b_HW, window) for a_HW, b_HW in planes]
    return torch.stack(scores).view(batch, channels).mean(dim=1)


def _mean_similarity(strip: _Strip, a_HW: Tensor, b_HW: Tensor, window: SsimWindow) -> Tensor:
    """Return the mean of the SSIM map of one plane, a scalar on the device.

    With windowed means m, m_a m_b = p and m_a² + m_b² = q, the paper's formula is

        (p + C1 / 2) (m_ab - p + C2 / 2) / ((q + C1) (m_aa + m_bb - q + C2)) * 4,

    which takes the fewest passes over memory, the bottleneck. The strip's means already contain
    their share of C2.
    """
    rows, side = strip.rows, len(window.taps)
    height, width = len(a_HW) - side + 1, a_HW.shape[1] - side + 1
    total, products = a_HW.new_zeros(rows, width), a_HW.new_empty(rows, 2, width)
    p, q = products.unbind(1)
    c1 = a_HW.new_full((2, 1), (0.01 * window.data_range) ** 2)
    c1[0].mul_(0.5)
    for begin in range(0, height, rows):
        top = min(begin, height - rows)
        strip.fill(a_HW, b_HW, top)
        torch.mul(strip.mean_a, strip.mean_b, out=p)
        torch.mul(strip.mean_a, strip.mean_a, out=q).addcmul_(strip.mean_b, strip.mean_b)
        covariances = strip.mean_products.sub_(products)
        products.add_(c1).mul_(covariances)
        new = begin - top  # the last strip begins with rows that the one before it has counted
        total[new:].addcdiv_(p[new:], q[new:])
    return total.sum().mul_(4 / (height * width))


class _Strip:
    """Computes windowed means of a few rows at a time, in buffers that fit the processor's cache.

    A weighted mean over a window is one over rows and then one over columns. The rows' is the
    product of a band matrix and the strip. For the columns' the strip is cut into blocks as it
    lies in memory, each result being a sum over its own block and the beginning of the next:
    two products with what the band matrix has there. In float64 far faster than a convolution.

    Args:
        window: taps and constants.
        height: height of the planes.
        width: width of the planes.
        device: where the planes are.

    Attributes:
        rows: number of rows of means that one `fill` computes.
        mean_a: means of the first plane, a buffer: rows, width.
        mean_b: means of the second plane, a buffer: rows, width.
        mean_products: rows, 2, width: means of a b plus C2 / 2, and of a² + b² plus C2.
    """

    def __init__(self, window: SsimWindow, height: int, width: int, device: torch.device) -> None:
        step = _STRIP_ROWS.get(device.type, _STRIP_ROWS_ELSEWHERE)
        band, reach = _band_on(window, step, device), len(window.taps) - 1
        self.rows = min(step, height - reach)
        self._height = self.rows + reach
        size = self.rows * 4 * width
        blocks = math.ceil(size / step)
        made = partial(torch.zeros, dtype=torch.float64, device=device)
        seen, over_rows, means = (
            made(self._height + 1, 2, width),
            made((blocks + 1) * step),
            made(blocks * step),
        )
        # One row more, which every result takes as it is, carries the constants through.
        bias = (reach + 1) ** 2 / ((reach + 1) ** 2 - 1) if window.sample_covariance else 1.0
        c2 = (0.03 * window.data_range) ** 2 / bias  # it divides the variances out of all else
        seen[-1, 0], seen[-1, 1] = c2 / 2, c2
        self._ab, self._aa_bb = seen[:-1].unbind(1)
        self._products = seen.flatten(1)
        self._band = band[: self.rows, : self._height]
        self._band_and_one = torch.cat((self._band, made(self.rows, 1) + 1), dim=1)
        planes = over_rows[:size].view(self.rows, 4, width)
        self._rows_a, self._rows_b = planes[:, 0], planes[:, 1]
        self._rows_products = planes[:, 2:].flatten(1)
        self._inside, self._beyond = band.mT[:step], band.mT[step:]
        self._blocks = over_rows[: blocks * step].view(blocks, step)
        self._next = over_rows[step:].view(blocks, step)[:, :reach]
        self._means = means.view(blocks, step)
        whole = means[:size].view(self.rows, 4, width)[..., : width - reach]
        self.mean_a, self.mean_b, self.mean_products = whole[:, 0], whole[:, 1], whole[:, 2:]

    def fill(self, a_HW: Tensor, b_HW: Tensor, top: int) -> None:
        """Compute the windowed means of the `rows` rows from `top` on into the buffers."""
        a, b = (plane[top : top + self._height] for plane in (a_HW, b_HW))
        torch.mul(a, b, out=self._ab)
        torch.mul(a, a, out=self._aa_bb).addcmul_(b, b)
        torch.mm(self._band, a, out=self._rows_a)
        torch.mm(self._band, b, out=self._rows_b)
        torch.mm(self._band_and_one, self._products, out=self._rows_products)
        torch.mm(self._blocks, self._inside, out=self._means)
        self._means.addmm_(self._next, self._beyond)


@lru_cache(maxsize=16)
def _band_on(window: SsimWindow, step: int, device: torch.device) -> Tensor:
    """Return the band matrix of the taps: row i of `step` weights inputs i, i + 1, ..."""
    # Cached: copying it to the device for every image would synchronise with it.
    with torch.inference_mode(mode=False):
        band = torch.zeros(step, step + len(window.taps) - 1, dtype=torch.float64)
        for offset, tap in enumerate(window.taps):
            band.diagonal(offset).fill_(tap)
        return band.to(device)
