"""Makes LR images of whole training images, at every size that an image is used in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.colour import luma_B1HW
from trainables.data.images import Images, Pixels
from trainables.resample import downsample_BCHW, resize_uint8
from trainables.threads import workers
from trainables.values import Colour

Array = NDArray[Any]
Sizes = tuple[Pixels, ...]
"""One image, RGB bytes H W 3, at every size it is used in."""


@dataclass(frozen=True)
class Photograph:
    """A whole training image and its LR image, from which patches are cut.

    Attributes:
        name: the name of its HR file.
        hr: the image at every size it is used in.
        lr: the LR image of each size: RGB bytes H W 3, or luma H W 1 in floats. Pixel (row, column)
            covers the `scale` x `scale` HR pixels from scale * (row, column) on.
    """

    name: str
    hr: Sizes
    lr: tuple[Array, ...]


def resized(images: Images, downsizings: Sequence[float]) -> tuple[Sizes, ...]:
    """Resize each image to several sizes (1 is its own), as bytes; size 1 is not copied."""

    def sizes(array: Pixels) -> Sizes:
        return tuple(array if size == 1 else _resized(array, size) for size in downsizings)

    with workers() as pool:
        return tuple(pool.map(sizes, images.arrays))


def made(
    names: Iterable[str], hr: Sequence[Sizes], colour: Colour, scale: int
) -> tuple[Photograph, ...]:
    """Make the LR images of HR images, which are first cropped to a multiple of the scale.

    For a luma network LR is the bicubic reduction of the unrounded luma; for an RGB network it is
    rounded to bytes, as published LR files are. Bitwise equal for any number of CPU threads.

    Args:
        names: the names of the HR files.
        hr: each image at every size.
        colour: of the network: `y` or `rgb`.
        scale: HR side / LR side.
    """

    def lr(sizes: Sizes) -> tuple[Array, ...]:
        return tuple(_shrunk(array, scale, colour) for array in sizes)

    with workers() as pool:
        return tuple(map(Photograph, names, hr, pool.map(lr, hr)))


def paired(hr: Images, lr: Images, colour: Colour, scale: int) -> tuple[Photograph, ...]:
    """Pair HR images with given LR images; for a luma network LR becomes its luma.

    Raises:
        ValueError: an HR image is not exactly `scale` times as large as its LR image; names both.
    """
    for hr_name, large, lr_name, small in zip(
        hr.names, hr.arrays, lr.names, lr.arrays, strict=True
    ):
        if large.shape[:2] != tuple(scale * side for side in small.shape[:2]):
            raise ValueError(
                f"{lr_name} is {_sides(small)} and {hr_name} is {_sides(large)}, which is not "
                f"exactly {scale} times as large; crop one of them, or leave both out"
            )
    with workers() as pool:
        given: Iterable[Array] = pool.map(_luma, lr.arrays) if colour == "y" else lr.arrays
        pairs = zip(hr.names, hr.arrays, given, strict=True)
        return tuple(Photograph(name, (large,), (small,)) for name, large, small in pairs)


def unit(levels: Tensor) -> Tensor:
    """Convert bytes to floats in [0, 1] of torch's default type (float64 in golden tests)."""
    return levels.to(torch.get_default_dtype()).div_(255)


def _resized(array: Pixels, size: float) -> Pixels:
    return resize_uint8(_tensor(array), size).permute(1, 2, 0).contiguous().numpy()


def _shrunk(array: Pixels, scale: int, colour: Colour) -> Array:
    height, width = (side // scale * scale for side in array.shape[:2])
    if not height or not width:  # a downsizing to nothing, in which no patch fits
        return array[:0, :0]
    rgb_3HW = _tensor(array[:height, :width])
    if colour == "y":
        # In float64, rounded once: the last bits of a float32 product depend on where in memory
        # it is computed, and a run that is resumed would then learn from other images.
        exact_CHW = downsample_BCHW(luma_B1HW(rgb_3HW.double() / 255), scale)
        lr_CHW = exact_CHW.to(torch.get_default_dtype())
    else:
        lr_CHW = resize_uint8(rgb_3HW, 1 / scale)
    return lr_CHW.permute(1, 2, 0).contiguous().numpy()


def _luma(array: Pixels) -> Array:
    return luma_B1HW(unit(_tensor(array))).permute(1, 2, 0).contiguous().numpy()


def _tensor(array: Pixels) -> Tensor:
    # A copy: images shared by Ray are read-only, of which torch warns.
    return torch.tensor(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _sides(array: Pixels) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
