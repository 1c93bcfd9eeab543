"""Endless, seeded, resumable pairs of aligned patches, cut from whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.colour import luma_B1HW
from trainables.data.images import Pixels
from trainables.data.photographs import Array, Photograph
from trainables.data.resident import Cut, Resident
from trainables.data.training import TrainingSet
from trainables.replay import sent
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
        device: where batches are wanted.
        resident: whether the images are copied to the device and patches are cut there; None: on a
            GPU, if they take up at most a quarter of its free memory. Batches are the same bits.

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
        device: torch.device | str = "cpu",
        resident: bool | None = None,
    ) -> None:
        self._colour = training.colour
        self._scales = tuple(scales)
        self._images_per_batch = images_per_batch
        self._patch = patch
        self._randomness = randomness
        self._device = torch.device(device)
        side = max(self._sides(scale)[1] for scale in self._scales)
        self._photographs = {
            scale: [_fitting(each, side) for each in training.photographs[scale]]
            for scale in self._scales
        }
        self._white = torch.tensor(255.0, device=self._device)  # float32, or what is default
        self._resident: tuple[Resident, Resident] | None = None
        pairs = [pair for each in self._photographs.values() for sizes in each for pair in sizes]
        if _fits(pairs, self._device) if resident is None else resident:
            large, small = ([pair[side] for pair in pairs] for side in (0, 1))
            self._resident = Resident(large, self._device), Resident(small, self._device)

    def draw(self) -> Pairs:
        """The next batch: float32 in [0, 1], contiguous, on the device."""
        large, small = self._drawn()
        if self._resident is None:
            hr_BCHW, lr_BCHW = sent(self._device, *map(_batch, (large, small)))
        else:
            tables = [own.table(c) for own, c in zip(self._resident, (large, small), strict=True)]
            (table_B6,) = sent(self._device, torch.cat(tables, dim=1))  # both in one copy
            hr_BCHW, lr_BCHW = (
                own.gather(table_B3, cuts[0].side)
                for own, table_B3, cuts in zip(
                    self._resident, (table_B6[:, :3], table_B6[:, 3:]), (large, small), strict=True
                )
            )
        hr_BCHW = self._unit(hr_BCHW)
        if self._colour == "y":
            return Pairs(lr_BCHW, luma_B1HW(hr_BCHW))
        return Pairs(self._unit(lr_BCHW), hr_BCHW)

    def _drawn(self) -> tuple[list[Cut], list[Cut]]:
        """Which squares of which HR and LR images the next batch has."""
        generator = self._randomness.generator
        scale = self._scales[int(torch.randint(len(self._scales), (), generator=generator))]
        lr_side, hr_side = self._sides(scale)
        photographs, count = self._photographs[scale], self._images_per_batch
        numbers = torch.rand(count, _DRAWS, generator=generator, dtype=torch.float64).tolist()
        large, small = [], []
        for which, size, row, column, *halves in numbers:
            sizes = photographs[int(which * len(photographs))]
            hr, lr = sizes[int(size * len(sizes))]
            top = int(row * (lr.shape[0] - lr_side + 1))
            left = int(column * (lr.shape[1] - lr_side + 1))
            mirrors = [number < 0.5 for number in halves]
            large.append(Cut(hr, top * scale, left * scale, hr_side, *mirrors))
            small.append(Cut(lr, top, left, lr_side, *mirrors))
        return large, small

    def _unit(self, levels: Tensor) -> Tensor:
        # By a tensor: a GPU would multiply by the inverse of a number, with other last bits.
        return levels.to(self._white.dtype).div_(self._white)

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


def _batch(cuts: Sequence[Cut]) -> Tensor:
    """The patches, B C side side, cut on the host."""
    return torch.from_numpy(np.ascontiguousarray(np.stack([cut.made() for cut in cuts])))


def _fits(pairs: Sequence[tuple[Array, Array]], device: torch.device) -> bool:
    """Whether images go to a device: to a GPU, a quarter of whose free memory holds them."""
    if device.type != "cuda":
        return False
    each = {id(array): array.nbytes for pair in pairs for array in pair}
    return sum(each.values()) <= torch.cuda.mem_get_info(device)[0] // 4
