"""Reads benchmarks: the papers' test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.data.images import PHOTOS, Images, photos
from trainables.data.layouts import name_of, read_set

PHOTOS_CROP = 252
"""Side in pixels of the central square of each built-in photograph, as in a report."""


@dataclass(frozen=True)
class Benchmark:
    """A decoded test set.

    Attributes:
        name: its name in tables: `Set5` for Set5, Set5/HR and Set5/GTmod12 alike.
        hr: HR images by scale (in most layouts the same ones for all).
        lr: LR images by scale, in the order of `hr`; None: they are made from HR.
        crop: side in pixels of the central square of each image that is used; None: all of it.
    """

    name: str
    hr: Mapping[int, Images]
    lr: Mapping[int, Images] | None = None
    crop: int | None = None

    @classmethod
    def read(cls, source: str, scales: Sequence[int], lr: Path | None = None) -> Benchmark:
        """Read the set in a folder, or the built-in photographs.

        Args:
            source: a folder in any layout of `trainables.data.layouts`; or `photos`.
            scales: the scales to read it for.
            lr: a folder of LR images: of one scale, or with a subfolder for each; None: none.

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
