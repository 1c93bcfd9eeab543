"""The module that is exported: one RGB interface for every network, with no size built in."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.colour import luma_B1HW, with_luma_B3HW
from trainables.metrics.cost import as_deployed
from trainables.networks.base import SRNet
from trainables.networks.vdsr import VDSR
from trainables.resample import resize_weights

SMALLEST_SIDE: Final = 3
"""Smallest height and width of an exported network's input, in pixels."""

_MARGIN = 2
"""Pixels beyond each edge that a cubic kernel reaches when it enlarges."""


class PhaseBicubic(nn.Module):
    """Bicubic enlargement by a whole number, as `trainables.resample.upsample_BCHW` computes it.

    That function multiplies by matrices made for one image size; this one serves every size, so it
    can be exported. Output pixels of one phase (row and column modulo the scale) share one 5x5
    kernel: the image is mirrored by two pixels, convolved once with a kernel for each phase, and
    the phases are interleaved by a pixel shuffle. ONNX's `Resize` repeats edges instead.
    """

    kernels: Tensor

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.channels, self.scale = channels, scale
        side = 2 * _MARGIN + 1
        rows = resize_weights(3 * side, scale)[scale * (side + _MARGIN) :][:scale]
        taps = rows[:, side : 2 * side]  # those of the scale output pixels inside the middle pixel
        kernels = torch.einsum("ai,bj->abij", taps, taps).reshape(scale**2, 1, side, side)
        self.register_buffer("kernels", kernels.repeat(channels, 1, 1, 1).float())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B C H W to B C (scale H) (scale W); H and W at least 2."""
        mirrored_BCHW = _mirrored(_mirrored(x_BCHW, 2), 3)
        phases = F.conv2d(mirrored_BCHW, self.kernels, groups=self.channels)
        return F.pixel_shuffle(phases, self.scale)


def _mirrored(x_BCHW: Tensor, axis: int) -> Tensor:
    """Extend an axis by two pixels at both ends: 1 0 | 0 1 ... n-1 | n-1 n-2, as MATLAB does."""
    first = [x_BCHW.narrow(axis, place, 1) for place in (1, 0)]
    last = [x_BCHW.narrow(axis, x_BCHW.shape[axis] - place, 1) for place in (1, 2)]
    return torch.cat([*first, x_BCHW, *last], dim=axis)


class Upscaler(nn.Module):
    """A network behind the interface of all exports: RGB in [0, 1] to RGB in [0, 1], clipped.

    A luma network gets the luma of the image, and the result takes Cb and Cr from its bicubic
    enlargement.
    """

    def __init__(self, network: SRNet, scale: int, *, luma: bool = False, half: bool = False):
        """Copy a network in its form after training.

        Args:
            network: serves `scale`.
            scale: the upscaling factor.
            luma: whether input and output are luma (B 1 H W) instead, of a luma network.
            half: whether the network computes in float16; bicubic and colours stay float32.
        """
        super().__init__()
        assert network.colour == "y" or not luma, "an RGB network has no luma interface"
        deployed = as_deployed(network).eval().requires_grad_(False)
        deployed.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not in torch's stub
        self.network = deployed.half() if half else deployed
        self.scale, self.luma, self.half_precision = scale, luma, half
        self.inside = network.colour == "y" and not luma
        self.enlarged_first = isinstance(network, VDSR)
        if network.colour == "y":
            self.bicubic = PhaseBicubic(1 if luma else 3, scale)

    def forward(self, image: Tensor) -> Tensor:
        """B C H W to B C (scale H) (scale W), float32 in [0, 1]; C is 3, or 1 for `luma`."""
        if not self.inside:
            return self._upscaled(image).clamp(0.0, 1.0)
        bicubic_B3HW = self.bicubic(image)
        # The weights of a bicubic pixel sum to 1, so its luma is that of the enlarged image.
        luma = self._computed(luma_B1HW(bicubic_B3HW))
        return with_luma_B3HW(bicubic_B3HW, luma).clamp(0.0, 1.0)

    def _upscaled(self, image_BCHW: Tensor) -> Tensor:
        return self._computed(self.bicubic(image_BCHW) if self.enlarged_first else image_BCHW)

    def _computed(self, x_BCHW: Tensor) -> Tensor:
        """Run the network on its own input: for VDSR the enlarged image."""
        x_BCHW = x_BCHW.half() if self.half_precision else x_BCHW
        network = self.network
        assert isinstance(network, SRNet)
        scale = 1 if self.enlarged_first else self.scale
        return network.trace(x_BCHW, scale=scale).sr_BCHW.float()
