"""The papers' test sets, decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.data.images import PHOTOS, Images, photos
from trainables.data.layouts import name_of, read_set

PHOTOS_CROP = 252
"""Side of the square kept from the middle of each built-in photograph, as in every report."""


@dataclass(frozen=True)
class Benchmark:
    """A test set, decoded.

    Attributes:
        name: what tables call it: `Set5` for Set5, Set5/HR and Set5/GTmod12 alike.
        hr: its images, by scale (most layouts have the same ones for all).
        lr: the LR image of each, in the same order, where they are to be used and not made.
        crop: side of the square that is kept of each image; None for all of it.
    """

    name: str
    hr: Mapping[int, Images]
    lr: Mapping[int, Images] | None = None
    crop: int | None = None

    @classmethod
    def read(cls, source: str, scales: Sequence[int], lr: Path | None = None) -> Benchmark:
        """The set in a folder, or the built-in photographs.

        Args:
            source: a folder, of which every layout of `layouts` is recognised; or `photos`.
            scales: at which it will be used.
            lr: a folder of LR images: of one scale, or with a subfolder for each.

        Raises:
            ValueError: in one line that names the file or folder: no image, one that cannot be
                read, an HR image without its LR image.
        """
        if source == PHOTOS:
            if lr is not None:
                raise ValueError(f"{lr}: the built-in photographs have no LR files")
            return cls(PHOTOS, dict.fromkeys(scales, photos("heldout")), crop=PHOTOS_CROP)
        folder = Path(source)
        hr, small = read_set(folder, scales, lr)
        return cls(name_of(folder), hr, small)
