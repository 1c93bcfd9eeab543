"""Endless, seeded, resumable pairs of aligned patches, cut from whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trainables.colour import luma_B1HW
from trainables.data.images import Pixels
from trainables.data.photographs import Array, Photograph, unit
from trainables.data.training import TrainingSet
from trainables.values import Pairs, Randomness

_DRAWS = 7
"""Random numbers per patch: image, its size, row, column, three mirrorings."""


class Patches:
    """Cuts batches out of whole images, one scale a batch, for as long as it is asked.

    Patches are cut from the LR of the whole image, so that their borders have seen the pixels
    beyond. Every image is equally likely, and every place in it. Each patch is mirrored left-right,
    upside-down and across its diagonal, each with probability 1/2: the eight symmetries. The state
    is that of the random stream: two objects with equal state draw equal batches, bit for bit.

    Args:
        training: what to cut from, in the network's colour; never copied, never written to.
        scales: one of them is drawn for each batch.
        images_per_batch: patches in a batch.
        patch: side at the network's body input: of the HR patch for `y` (a multiple of every
            scale), of the LR patch for `rgb`.
        randomness: where the choices come from.

    Raises:
        ValueError: an image smaller than a patch, by the name of its file. A smaller size of an
            image that a patch does not fit in is passed over.
    """

    def __init__(
        self,
        training: TrainingSet,
        *,
        scales: Sequence[int],
        images_per_batch: int,
        patch: int,
        randomness: Randomness,
    ) -> None:
        self._colour = training.colour
        self._scales = tuple(scales)
        self._images_per_batch = images_per_batch
        self._patch = patch
        self._randomness = randomness
        side = max(self._sides(scale)[1] for scale in self._scales)
        self._photographs = {
            scale: [_fitting(each, side) for each in training.photographs[scale]]
            for scale in self._scales
        }

    def draw(self) -> Pairs:
        """The next batch: float32 in [0, 1], contiguous, on the CPU."""
        generator = self._randomness.generator
        chosen = int(torch.randint(len(self._scales), (), generator=generator))
        scale = self._scales[chosen]
        lr_side, hr_side = self._sides(scale)
        photographs = self._photographs[scale]
        luma = self._colour == "y"
        count = self._images_per_batch
        lr_type = photographs[0][0][1].dtype
        lr = np.empty((count, 1 if luma else 3, lr_side, lr_side), lr_type)
        hr = np.empty((count, 3, hr_side, hr_side), np.uint8)
        numbers = torch.rand(count, _DRAWS, generator=generator, dtype=torch.float64).tolist()
        for index, (which, size, row, column, *mirrors) in enumerate(numbers):
            sizes = photographs[int(which * len(photographs))]
            large, small = sizes[int(size * len(sizes))]
            top = int(row * (small.shape[0] - lr_side + 1))
            left = int(column * (small.shape[1] - lr_side + 1))
            lr[index] = _cut(small, top, left, lr_side, mirrors)
            hr[index] = _cut(large, top * scale, left * scale, hr_side, mirrors)
        hr_BCHW = unit(torch.from_numpy(hr))
        if luma:
            return Pairs(torch.from_numpy(lr), luma_B1HW(hr_BCHW))
        return Pairs(unit(torch.from_numpy(lr)), hr_BCHW)

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


def _fitting(photograph: Photograph, side: int) -> list[tuple[Pixels, Array]]:
    """HR and LR of the sizes that a patch of this HR side fits in."""
    pairs = zip(photograph.hr, photograph.lr, strict=True)
    fitting = [(hr, lr) for hr, lr in pairs if min(hr.shape[:2]) >= side]
    if not fitting:  # not even its own size, which is the largest
        height, width = max(photograph.hr, key=len).shape[:2]
        raise ValueError(
            f"{photograph.name} is {width}x{height}, smaller than a patch of {side}x{side}; "
            "leave it out, or make batch.patch smaller"
        )
    return fitting


def _cut(image: Array, top: int, left: int, side: int, mirrors: Sequence[float]) -> Array:
    """A square of an H W C image as C H W, mirrored where a number is below 1/2."""
    horizontal, vertical, diagonal = (number < 0.5 for number in mirrors)
    patch = image[top : top + side, left : left + side].transpose(2, 0, 1)
    if diagonal:
        patch = patch.transpose(0, 2, 1)
    return patch[:, :: -1 if vertical else 1, :: -1 if horizontal else 1]
