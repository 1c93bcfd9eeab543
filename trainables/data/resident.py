"""Keeps whole images on a device and cuts all patches of a batch from them by one gather."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Cut:
    """A square of `side` pixels of an image, from (top, left) on, with its mirrorings.

    The diagonal mirroring comes first, then rows are reversed (`vertical`), then columns.
    """

    image: Array
    """The whole image, H W C."""
    top: int
    left: int
    side: int
    horizontal: bool
    vertical: bool
    diagonal: bool

    def made(self) -> Array:
        """Return the patch, C side side, as a view of the image."""
        rows, columns = (slice(at, at + self.side) for at in (self.top, self.left))
        patch = self.image[rows, columns].transpose(2, 0, 1)
        if self.diagonal:
            patch = patch.transpose(0, 2, 1)
        return patch[:, :: -1 if self.vertical else 1, :: -1 if self.horizontal else 1]

    def affine(self, base: int) -> tuple[int, int, int]:
        """Return (start, dy, dx): pixel (y, x) of the patch has index start + y dy + x dx.

        Args:
            base: index of the image's first pixel among the pixels of all images.
        """
        width = self.image.shape[1]
        start = base + self.top * width + self.left
        dy, dx = (1, width) if self.diagonal else (width, 1)
        if self.vertical:
            start, dy = start + (self.side - 1) * dy, -dy
        if self.horizontal:
            start, dx = start + (self.side - 1) * dx, -dx
        return start, dy, dx


class Resident:
    """Holds the pixels of images of one dtype and channel count in one tensor on a device.

    Args:
        images: arrays H W C; one that occurs more than once is stored once.
        device: where they are copied to.
    """

    def __init__(self, images: Iterable[Array], device: torch.device) -> None:
        self._images = tuple({id(each): each for each in images}.values())  # an id lasts as they do
        sizes = np.cumsum([0, *(each.shape[0] * each.shape[1] for each in self._images)])
        self._bases = {id(e): int(base) for e, base in zip(self._images, sizes, strict=False)}
        channels = self._images[0].shape[2]
        dtype = torch.from_numpy(np.empty(0, self._images[0].dtype)).dtype
        self._pixels_NC = torch.empty(int(sizes[-1]), channels, dtype=dtype, device=device)
        for each, base in zip(self._images, sizes, strict=False):
            flat = torch.tensor(each.reshape(-1, channels))  # a copy: not all can be written to
            self._pixels_NC[int(base) : int(base) + len(flat)] = flat

    def table(self, cuts: Sequence[Cut]) -> Tensor:
        """Return each patch's (start, dy, dx), see `Cut.affine`: int64, B 3, on the host."""
        return torch.tensor([cut.affine(self._bases[id(cut.image)]) for cut in cuts])

    def gather(self, table_B3: Tensor, side: int) -> Tensor:
        """Return the patches of a `table` on the device: B C side side, contiguous."""
        start_B11, dy_B11, dx_B11 = table_B3[:, :, None, None].unbind(1)
        along = torch.arange(side, device=table_B3.device)
        index_BHW = start_B11 + dy_B11 * along[:, None] + dx_B11 * along
        return self._pixels_NC[index_BHW].permute(0, 3, 1, 2).contiguous()
