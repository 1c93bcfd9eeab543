"""Draws batches of aligned LR and HR patches from whole images: seeded, resumable, without end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
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
"""Random numbers drawn for each patch: image, its size, row, column, three mirrorings."""


class Patches:
    """Draws batches of patch pairs, each batch at one scale.

    LR patches are cut from the LR image of the whole HR image, so that pixels beyond the patch
    contribute at its borders. A folder is drawn by its weight; its images, and positions in an
    image, are equally likely. Each patch is
    mirrored horizontally, vertically and across its diagonal, each with probability 1/2: the eight
    symmetries. The state is that of the random generator: two objects of equal state draw bitwise
    equal batches.

    Args:
        training: the images, in the network's colour; neither copied nor changed.
        scales: one of them is drawn for each batch.
        images_per_batch: patches in a batch.
        patch: side in pixels at the network's body input: of the HR patch for `y` (a multiple of
            every scale), of the LR patch for `rgb`.
        randomness: the source of all choices.
        device: where batches are returned.
        resident: whether images are copied to the device and patches cut there; None: on a GPU, if
            they take at most a quarter of its free memory. Batches are bitwise equal either way.

    Raises:
        ValueError: an image is smaller than a patch; names its file. Downsized versions of an image
            that are smaller than a patch are skipped.
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
        count = len(training.photographs[self._scales[0]])
        self._choice = WeightedChoice(training.folders or ((count, 1.0),))
        self._white = torch.tensor(255.0, device=self._device)  # float32, or what is default
        self._resident: tuple[Resident, Resident] | None = None
        pairs = [pair for each in self._photographs.values() for sizes in each for pair in sizes]
        if _fits(pairs, self._device) if resident is None else resident:
            large, small = ([pair[side] for pair in pairs] for side in (0, 1))
            self._resident = Resident(large, self._device), Resident(small, self._device)

    def draw(self) -> Pairs:
        """Draw the next batch: float32 in [0, 1], contiguous, on the device."""
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
        """Draw the squares of HR and of LR images that make the next batch."""
        generator = self._randomness.generator
        scale = self._scales[int(torch.randint(len(self._scales), (), generator=generator))]
        lr_side, hr_side = self._sides(scale)
        photographs, count = self._photographs[scale], self._images_per_batch
        numbers = torch.rand(count, _DRAWS, generator=generator, dtype=torch.float64).tolist()
        large, small = [], []
        for which, size, row, column, *halves in numbers:
            sizes = photographs[self._choice.index(which)]
            hr, lr = sizes[int(size * len(sizes))]
            top = int(row * (lr.shape[0] - lr_side + 1))
            left = int(column * (lr.shape[1] - lr_side + 1))
            mirrors = [number < 0.5 for number in halves]
            large.append(Cut(hr, top * scale, left * scale, hr_side, *mirrors))
            small.append(Cut(lr, top, left, lr_side, *mirrors))
        return large, small

    def _unit(self, levels: Tensor) -> Tensor:
        # By a tensor: for a Python number a GPU multiplies by its inverse, with other last bits.
        return levels.to(self._white.dtype).div_(self._white)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random generator."""
        return self._randomness.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue with the batch that followed when the state was saved."""
        self._randomness.load_state_dict(state_dict)

    def _sides(self, scale: int) -> tuple[int, int]:
        """Return the sides of an LR patch and an HR patch, in pixels."""
        lr = self._patch // scale if self._colour == "y" else self._patch
        return lr, lr * scale


class WeightedChoice:
    """Chooses one of a list of images, which is made of the images of several folders in turn.

    Args:
        folders: number of images and weight of each folder.

    >>> WeightedChoice([(2, 3.0), (5, 1.0)]).index(0.75)
    2
    """

    def __init__(self, folders: Sequence[tuple[int, float]]) -> None:
        counts, weights = zip(*folders, strict=True)
        total = sum(weights)
        self._counts, self._shares = counts, [weight / total for weight in weights]
        self._begins = [0.0, *accumulate(self._shares)][:-1]
        self._firsts = [0, *accumulate(counts)]

    def index(self, uniform: float) -> int:
        """Return the index of the image that a number in [0, 1) falls to.

        Folder k has the interval of length w_k / sum(w), which its images divide evenly; one folder
        of n images: `int(n * uniform)`.
        """
        folder = bisect_right(self._begins, uniform) - 1
        within = (uniform - self._begins[folder]) / self._shares[folder]
        count = self._counts[folder]
        return int(self._firsts[folder] + min(within * count, count - 1))


def _fitting(photograph: Photograph, side: int) -> list[tuple[Pixels, Array]]:
    """Return the HR and LR versions of an image that are at least an HR patch of `side` in size.

    Raises:
        ValueError: even its own size is smaller; names the image.
    """
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
    """Cut patches on the host: B C side side."""
    return torch.from_numpy(np.ascontiguousarray(np.stack([cut.made() for cut in cuts])))


def _fits(pairs: Sequence[tuple[Array, Array]], device: torch.device) -> bool:
    """Whether images are copied to a device: a GPU with four times their bytes free."""
    if device.type != "cuda":
        return False
    each = {id(array): array.nbytes for pair in pairs for array in pair}
    return sum(each.values()) <= torch.cuda.mem_get_info(device)[0] // 4
