"""Where the papers' test sets keep their HR and LR images, in every layout they are spread in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.data.images import PHOTOS, Images, files_in, photos, read_files

_HR = ("HR", "GTmod12", "original", "GT", "DIV2K_valid_HR", "DIV2K_train_HR")
"""Subfolders that hold HR images, where the folder itself holds none: Set5/HR (EDSR-PyTorch,
SwinIR), Set5/GTmod12 (BasicSR), Set5/original (pytorch-vdsr), DIV2K/DIV2K_valid_HR."""
_HR_WITH_LR = "image_SRF_{scale}"
"""Subfolder that holds `img_001_SRF_2_HR.png` beside `img_001_SRF_2_LR.png` (Urban100)."""
_LR = (
    "X{scale}",
    "x{scale}",
    "LR_bicubic/X{scale}",
    "LRbicx{scale}",
    "DIV2K_valid_LR_bicubic/X{scale}",
    "DIV2K_train_LR_bicubic/X{scale}",
    _HR_WITH_LR,
)
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
            source: a folder, of which every layout named above is recognised; or `photos`.
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
        folder = Path(source).expanduser()
        files = {scale: hr_files(folder, scale) for scale in scales}
        small: dict[int, Images] | None = None
        if lr is not None:
            small = {scale: read_files(lr_files(lr, files[scale], scale)) for scale in scales}
        decoded: dict[tuple[Path, ...], Images] = {}
        for each in files.values():
            if each not in decoded:
                decoded[each] = read_files(each)
        return cls(
            name=_name(folder),
            hr={scale: decoded[each] for scale, each in files.items()},
            lr=small,
        )


def hr_files(folder: Path, scale: int) -> tuple[Path, ...]:
    """The HR files of a set at a scale.

    Raises:
        ValueError: there is no such folder, or no image where any layout keeps them.
    """
    for place in (folder / _HR_WITH_LR.format(scale=scale), folder):
        paired = tuple(path for path in _images(place) if path.stem.endswith("_HR"))
        if paired:
            return paired
    found = (_images(place) for place in (folder, *(folder / name for name in _HR)))
    return next(filter(None, found), ()) or tuple(files_in(folder))


def lr_files(folder: Path, hr: Sequence[Path], scale: int) -> tuple[Path, ...]:
    """The LR file of each HR file, in the same order.

    Raises:
        ValueError: one is not there, in one line that names it.
    """
    folder = folder.expanduser()
    places = [folder / place.format(scale=scale) for place in _LR]
    folder = next(filter(_images, places), folder)
    by_stem = {path.stem: path for path in files_in(folder)}
    return tuple(_lr_of(path, scale, by_stem, folder) for path in hr)


def _name(folder: Path) -> str:
    folder = folder.resolve()
    inner = folder.name in _HR or folder.name.startswith(_HR_WITH_LR.partition("{")[0])
    return (folder.parent if inner and not folder.name.startswith("DIV2K") else folder).name


def _lr_of(hr: Path, scale: int, by_stem: dict[str, Path], folder: Path) -> Path:
    names = [f"{hr.stem}x{scale}", f"{hr.stem.removesuffix('_HR')}_LR", hr.stem]
    for name in names:
        if name in by_stem:
            return by_stem[name]
    raise ValueError(f"{folder} holds no LR image of {hr.name} at x{scale}, such as {names[0]}.png")


def _images(folder: Path) -> tuple[Path, ...]:
    """The image files of a folder; none where there is no such folder."""
    try:
        return tuple(files_in(folder))
    except ValueError:
        return ()
