"""Endless, seeded, resumable pairs of aligned patches, cut from whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.colour import luma_B1HW
from trainables.data.images import Images, Pixels
from trainables.resample import downsample_BCHW, resize_uint8
from trainables.values import Colour, Pairs, Randomness

Array = NDArray[Any]

_DRAWS = 7
"""Random numbers per patch: image, its size, row, column, three mirrorings."""


class Patches:
    """Cuts batches out of whole images, one scale a batch, for as long as it is asked.

    The LR of an image is the whole HR image, cropped to a multiple of the scale, made smaller:
    patches are cut from it, so that their borders have seen the pixels beyond. For a luma network
    it is the bicubic of the unrounded Y; for an RGB network it is rounded to bytes as published
    LR files are. It is made when first needed, once per image and scale.

    Every image is equally likely, and every place in it. Each patch is mirrored left-right,
    upside-down and across its diagonal, each with probability 1/2. The state is that of the
    random stream: two objects with equal state draw equal batches, bit for bit.

    Args:
        images: what to cut from; never copied, never written to.
        colour: `y` or `rgb`, as the network's.
        scales: one of them is drawn for each batch.
        images_per_batch: patches in a batch.
        patch: side at the network's body input: of the HR patch for `y` (a multiple of every
            scale), of the LR patch for `rgb`.
        randomness: where the choices come from.
        downsizings: sizes at which an image is seen, 1 being its own; (1, 0.7, 0.5) in
            pytorch-vdsr. A smaller size that a patch does not fit in is passed over.

    Raises:
        ValueError: an image smaller than a patch, by the name of its file.
    """

    def __init__(
        self,
        images: Images,
        *,
        colour: Colour,
        scales: Sequence[int],
        images_per_batch: int,
        patch: int,
        randomness: Randomness,
        downsizings: Sequence[float] = (1.0,),
    ) -> None:
        assert 1 in downsizings, "an image is always seen at its own size too"
        self._colour = colour
        self._scales = tuple(scales)
        self._images_per_batch = images_per_batch
        self._patch = patch
        self._randomness = randomness
        side = max(self._sides(scale)[1] for scale in self._scales)
        for name, array in zip(images.names, images.arrays, strict=True):
            height, width = array.shape[:2]
            if min(height, width) < side:
                raise ValueError(
                    f"{name} is {width}x{height}, smaller than a patch of {side}x{side}; "
                    "leave it out, or make batch.patch smaller"
                )
        self._hr = [_sizes(array, downsizings, side) for array in images.arrays]
        self._lr: dict[tuple[int, int, int], Array] = {}

    def draw(self) -> Pairs:
        """The next batch: float32 in [0, 1], contiguous, on the CPU."""
        generator = self._randomness.generator
        chosen = int(torch.randint(len(self._scales), (), generator=generator))
        scale = self._scales[chosen]
        lr_side, hr_side = self._sides(scale)
        luma = self._colour == "y"
        count = self._images_per_batch
        lr = np.empty((count, 1 if luma else 3, lr_side, lr_side), np.float32 if luma else np.uint8)
        hr = np.empty((count, 3, hr_side, hr_side), np.uint8)
        numbers = torch.rand(count, _DRAWS, generator=generator, dtype=torch.float64).tolist()
        for index, (which, size, row, column, *mirrors) in enumerate(numbers):
            image = int(which * len(self._hr))
            version = int(size * len(self._hr[image]))
            small = self._lr_of(image, version, scale)
            top = int(row * (small.shape[0] - lr_side + 1))
            left = int(column * (small.shape[1] - lr_side + 1))
            lr[index] = _cut(small, top, left, lr_side, mirrors)
            large = self._hr[image][version]
            hr[index] = _cut(large, top * scale, left * scale, hr_side, mirrors)
        hr_BCHW = _unit(torch.from_numpy(hr))
        if luma:
            return Pairs(torch.from_numpy(lr), luma_B1HW(hr_BCHW))
        return Pairs(_unit(torch.from_numpy(lr)), hr_BCHW)

    def state_dict(self) -> dict[str, Any]:
        """The state of the random stream."""
        return self._randomness.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue with the batch that came after `state_dict`."""
        self._randomness.load_state_dict(state_dict)

    def _sides(self, scale: int) -> tuple[int, int]:
        """Sides of an LR patch and an HR patch."""
        lr = self._patch // scale if self._colour == "y" else self._patch
        return lr, lr * scale

    def _lr_of(self, image: int, version: int, scale: int) -> Array:
        """The LR image as an H W C array, made on first use."""
        key = image, version, scale
        if key not in self._lr:
            self._lr[key] = _shrunk(self._hr[image][version], scale, self._colour)
        return self._lr[key]


def _sizes(array: Pixels, downsizings: Sequence[float], side: int) -> list[Pixels]:
    sizes = (array if size == 1 else _resized(array, size) for size in downsizings)
    return [size for size in sizes if min(size.shape[:2]) >= side]


def _resized(array: Pixels, size: float) -> Pixels:
    return resize_uint8(_tensor(array), size).permute(1, 2, 0).contiguous().numpy()


def _shrunk(array: Pixels, scale: int, colour: Colour) -> Array:
    height, width = (side // scale * scale for side in array.shape[:2])
    rgb_3HW = _tensor(array[:height, :width])
    if colour == "y":
        lr_CHW = downsample_BCHW(luma_B1HW(_unit(rgb_3HW)), scale)
    else:
        lr_CHW = resize_uint8(rgb_3HW, 1 / scale)
    return lr_CHW.permute(1, 2, 0).contiguous().numpy()


def _tensor(array: Pixels) -> Tensor:
    # A copy: Ray hands out images that cannot be written to, of which torch warns.
    return torch.tensor(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _unit(levels: Tensor) -> Tensor:
    return levels.to(torch.float32).div_(255)


def _cut(image: Array, top: int, left: int, side: int, mirrors: Sequence[float]) -> Array:
    """A square of an H W C image as C H W, mirrored where a number is below 1/2."""
    horizontal, vertical, diagonal = (number < 0.5 for number in mirrors)
    patch = image[top : top + side, left : left + side].transpose(2, 0, 1)
    if diagonal:
        patch = patch.transpose(0, 2, 1)
    return patch[:, :: -1 if vertical else 1, :: -1 if horizontal else 1]
