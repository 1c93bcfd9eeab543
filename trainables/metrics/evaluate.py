"""Scores networks on whole held-out images under a named protocol."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Self
from typing import Protocol as Structure

import torch
from pydantic import Field
from torch import Tensor

from trainables.colour import is_grey, luma_B1HW, round_to_bytes, with_luma_B3HW
from trainables.errors import ConfigError
from trainables.metrics.crops import Pixels, centre, multiple_of, shaved, unit_B3HW
from trainables.metrics.fidelity import PROTOCOLS, ProtocolName, protocol_for, psnr_db, ssim
from trainables.metrics.tiles import Upscale
from trainables.resample import downsample_BCHW, resize_uint8, upsample_BCHW
from trainables.threads import workers
from trainables.values import Colour, Config

_PIXELS_AT_ONCE = 2**18
"""Pixels of results that are computed in one pass: at 64 channels, a map of 67 MB."""


class HeldoutConfig(Config):
    """The held-out images on which reports are computed, and their protocol."""

    images: str = "photos"
    """A folder of images, or `photos`: four photographs that come with scikit-image."""
    crop: int | None = Field(default=252, ge=16)
    """Side in pixels of the central square of each image; 252 is divisible by 2, 3 and 4. None:
    whole images."""
    protocol: ProtocolName | None = None
    """A key of `PROTOCOLS`; None: `yfloat` for a luma network, `rgb8` for an RGB network."""


class Named(Structure):
    """Decoded images: names, and uint8 arrays H W 3; `trainables.data.images.Images` is one."""

    @property
    def names(self) -> Sequence[str]:
        """The names of the files."""
        ...

    @property
    def arrays(self) -> Sequence[Pixels]:
        """The pixels of each image."""
        ...


@dataclass(frozen=True)
class View:
    """One image at one scale, prepared under a protocol.

    Attributes:
        name: the name of its file.
        scale: HR side / LR side.
        hr_HWC: the image's bytes, cropped to a multiple of the scale.
        lr_BCHW: the network's input: batch of 1, float32, in the network's colour.
        truth_B1HW: luma to compare with, float64, borders shaved.
        canvas_B3HW: bicubic RGB whose chroma is added to a luma network's result; None where the
            protocol compares luma without making an RGB image.
        grey: whether the image is grey and its own luma.
    """

    name: str
    scale: int
    hr_HWC: Pixels
    lr_BCHW: Tensor
    truth_B1HW: Tensor
    canvas_B3HW: Tensor | None
    grey: bool = False


class Heldout:
    """Held-out images, prepared once under one protocol for repeated evaluation.

    Prepared tensors are bitwise equal for any number of CPU threads.

    Args:
        images: names and RGB bytes.
        colour: colour of the network's input and output.
        scales: the scales to evaluate at.
        protocol: a key of `PROTOCOLS`; None: the colour's own.
        crop: side in pixels of the central square of each image; None: all of it.
        device: where the network is.
        lr: RGB bytes of LR images by scale, one for each image; None: make them. Only protocols
            with byte images accept them.

    Raises:
        ValueError: an image is smaller than the crop or than the SSIM's window, or an LR image has
            the wrong size; names the image.
        ConfigError: a protocol for luma networks with colour `rgb`, or `lr` with a protocol that
            makes its own LR.
    """

    keys: ClassVar[tuple[str, ...]] = ("psnr_y_db", "ssim")
    """The report keys of the values that `score` returns."""

    def __init__(
        self,
        images: Named,
        *,
        colour: Colour,
        scales: Sequence[int],
        protocol: ProtocolName | None = None,
        crop: int | None = None,
        device: torch.device | str = "cpu",
        lr: Mapping[int, Sequence[Pixels]] | None = None,
    ) -> None:
        self.colour = colour
        self.protocol = protocol_for(protocol, colour)
        self._rules = PROTOCOLS[self.protocol]
        self._device = device
        if lr is not None and not self._rules.byte_images:
            raise ConfigError("lr", f"{self.protocol} makes its LR from luma; {_byte_protocols()}")
        assert lr is None or crop is None, "LR files belong to whole images"

        def views_of(index: int) -> list[View]:
            name = images.names[index]
            kept = centre(name, images.arrays[index], crop)
            rgb = unit_B3HW(kept).to(self._device)
            grey = self._rules.grey_as_luma and is_grey(images.arrays[index])
            luma = rgb[:, :1] if grey else luma_B1HW(rgb)  # once: scales only cut it in other ways
            given = {} if lr is None else {scale: lr[scale][index] for scale in scales}
            made = [self._view(name, kept, rgb, luma, each, given.get(each)) for each in scales]
            return [replace(view, grey=grey) for view in made]

        with workers() as pool:  # LR images have the same bits for any number of CPU threads
            made = list(pool.map(views_of, range(len(images.names))))
        self.views = {scale: tuple(each[n] for each in made) for n, scale in enumerate(scales)}

    @classmethod
    def of(
        cls,
        images: Named,
        config: HeldoutConfig,
        *,
        scales: Sequence[int],
        colour: Colour,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Prepare `images` by a configuration; a `ConfigError`'s path begins with `heldout`."""
        protocol, crop = config.protocol, config.crop
        try:
            return cls(
                images, colour=colour, scales=scales, protocol=protocol, crop=crop, device=device
            )
        except ConfigError as error:
            raise ConfigError(f"heldout.{error.path}", error.rule) from None

    def score(self, view: View, sr_BCHW: Tensor) -> Tensor:
        """Return PSNR in dB and SSIM of a result for `view.lr_BCHW`: shape (2,), on the device."""
        luma = self.luma(view, sr_BCHW)
        return torch.cat(
            (psnr_db(luma, view.truth_B1HW), ssim(luma, view.truth_B1HW, self._rules.ssim))
        )

    def luma(self, view: View, sr_BCHW: Tensor) -> Tensor:
        """Return the luma of a result as compared: rounded by the protocol, borders shaved."""
        return shaved(self._luma(view, sr_BCHW), view.scale)

    def picture(self, view: View, sr_BCHW: Tensor) -> Pixels:
        """Convert a network's result for `view.lr_BCHW` to RGB bytes, H W 3.

        A luma network's result gets the chroma of bicubic upsampling, unless the view is grey.
        """
        rgb = sr_BCHW.detach().double()
        if view.grey:
            rgb = rgb.expand(-1, 3, -1, -1)
        elif self.colour == "y":
            canvas = view.canvas_B3HW
            if canvas is None:
                canvas = upsample_BCHW(self._lr_rgb(view.hr_HWC, view.scale), view.scale)
            rgb = with_luma_B3HW(canvas.double(), rgb)
        levels = (round_to_bytes(rgb[0]) * 255).round().to(torch.uint8)
        return levels.permute(1, 2, 0).cpu().contiguous().numpy()

    def _view(
        self,
        name: str,
        array: Pixels,
        rgb: Tensor,
        luma: Tensor,
        scale: int,
        given: Pixels | None,
    ) -> View:
        hr = multiple_of(array, scale, cumulative=self._rules.cumulative_crop)
        least = len(self._rules.ssim.taps) + 2 * scale
        if min(hr.shape[:2]) < least:
            raise ValueError(
                f"{name} is {array.shape[1]}x{array.shape[0]} where it is evaluated at x{scale}, "
                f"too small to compare: give at least {least}x{least}"
            )
        rgb, luma = (x[..., : hr.shape[0], : hr.shape[1]] for x in (rgb, luma))
        luma = round_to_bytes(luma) if self._rules.byte_luma else luma
        canvas = None
        if self._rules.byte_images:
            lr = self._lr_rgb(hr, scale) if given is None else self._fitting(given, name, hr, scale)
            if self.colour == "y":
                canvas, lr = upsample_BCHW(lr, scale).float(), luma_B1HW(lr)
        else:
            lr = downsample_BCHW(luma if self.colour == "y" else rgb, scale)
        return View(
            name=name,
            scale=scale,
            hr_HWC=hr,
            lr_BCHW=lr.float(),
            truth_B1HW=shaved(luma, scale),
            canvas_B3HW=canvas,
        )

    def _luma(self, view: View, sr_BCHW: Tensor) -> Tensor:
        """Return the luma of a result, rounded by the protocol."""
        if view.canvas_B3HW is not None:
            sr_BCHW = with_luma_B3HW(view.canvas_B3HW.double(), sr_BCHW.double())
        exact = sr_BCHW.double()
        sr_BCHW = round_to_bytes(exact) if self._rules.byte_images else exact.clamp(0, 1)
        luma = luma_B1HW(sr_BCHW) if sr_BCHW.shape[1] == 3 else sr_BCHW
        return round_to_bytes(luma) if self._rules.byte_luma else luma

    def _lr_rgb(self, hr_HWC: Pixels, scale: int) -> Tensor:
        if not self._rules.byte_images:
            return downsample_BCHW(unit_B3HW(hr_HWC).to(self._device), scale)
        bytes_B3HW = torch.tensor(hr_HWC).permute(2, 0, 1)[None]
        return resize_uint8(bytes_B3HW, Fraction(1, scale)).to(self._device).double() / 255

    def _fitting(self, lr_HWC: Pixels, name: str, hr_HWC: Pixels, scale: int) -> Tensor:
        height, width = (side // scale for side in hr_HWC.shape[:2])
        if lr_HWC.shape[:2] != (height, width):
            found, wanted = f"{lr_HWC.shape[1]}x{lr_HWC.shape[0]}", f"{width}x{height}"
            raise ValueError(f"the LR image of {name} at x{scale} is {found}, not {wanted}")
        return unit_B3HW(lr_HWC).to(self._device)


@torch.no_grad()
def evaluate(upscale: Upscale, heldout: Heldout) -> dict[str, float]:
    """Score `upscale` on the held-out images; synchronises with the device once, at the end.

    Images of one size pass through the network together, as many as fit into `_PIXELS_AT_ONCE`.

    Args:
        upscale: the network; it returns images `scale` times the size of its input, and no image of
            a batch influences another's result.
        heldout: images, scales and protocol.

    Returns:
        The held-out set's `keys`, such as `psnr_y_db` and `ssim`: means over the scales of
        `psnr_y_db_x2`, `ssim_x2`, ..., which are means over the images.
    """
    groups = [group for views in heldout.views.values() for group in _alike(views)]
    views = [view for group in groups for view in group]
    results = (sr_BCHW for group in groups for sr_BCHW in _upscaled(upscale, group))
    scores = [heldout.score(*each) for each in zip(views, results, strict=True)]
    rows = torch.stack(scores).tolist()
    report: dict[str, float] = {}
    for column, key in enumerate(heldout.keys):
        means = {
            scale: statistics.fmean(
                row[column] for row, view in zip(rows, views, strict=True) if view.scale == scale
            )
            for scale in heldout.views
        }
        report[key] = statistics.fmean(means.values())
        report |= {f"{key}_x{scale}": mean for scale, mean in means.items()}
    return report


def _alike(views: Sequence[View]) -> Iterator[list[View]]:
    """Group the views of one scale by the size of their LR images, in the order of the first ones.

    A group makes at most `_PIXELS_AT_ONCE` pixels, or is a single view.
    """
    by_size: dict[torch.Size, list[View]] = {}
    for view in views:
        by_size.setdefault(view.lr_BCHW.shape, []).append(view)
    for size, same in by_size.items():
        pixels = size.numel() // size[1] * same[0].scale ** 2
        most = max(1, _PIXELS_AT_ONCE // pixels)
        for first in range(0, len(same), most):
            yield same[first : first + most]


def _upscaled(upscale: Upscale, group: Sequence[View]) -> Sequence[Tensor]:
    """Return the result of each view of a group, batches of one, from a single pass."""
    given = [view.lr_BCHW for view in group]
    lr_BCHW = given[0] if len(given) == 1 else torch.cat(given)
    return torch.split(upscale(lr_BCHW, group[0].scale), 1)


def _byte_protocols() -> str:
    usable = (name for name, protocol in PROTOCOLS.items() if protocol.byte_images)
    return f"LR files go with {', '.join(usable)}"
