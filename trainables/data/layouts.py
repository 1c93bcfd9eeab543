"""Finds the HR and LR images of published sets in the folder layouts they are distributed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trainables.data.images import Images, files_in, read_files
from trainables.paths import expanded, is_folder

_HR = ("HR", "GTmod12", "original", "GT", "DIV2K_valid_HR", "DIV2K_train_HR")
"""Subfolders of HR images, searched if the folder itself has none: Set5/HR (EDSR-PyTorch, SwinIR),
Set5/GTmod12 (BasicSR), Set5/original (pytorch-vdsr), DIV2K/DIV2K_valid_HR."""
_URBAN = "image_SRF_{scale}"
_HR_WITH_LR = (_URBAN, "{scale}", "")
"""Subfolders with HR beside LR files: `img_001_SRF_2_HR.png` and `img_001_SRF_2_LR.png` (Urban100),
`Canon_001_HR.png` and `Canon_001_LR2.png` (RealSR, whose HR images differ between scales)."""
_LR = (
    "X{scale}",
    "x{scale}",
    "LR_bicubic/X{scale}",
    "LRbicx{scale}",
    "DIV2K_valid_LR_bicubic/X{scale}",
    "DIV2K_train_LR_bicubic/X{scale}",
    _URBAN,
    "{scale}",
)


def read_set(
    folder: Path, scales: Sequence[int], lr: Path | None = None
) -> tuple[dict[int, Images], dict[int, Images] | None]:
    """Read the HR images of a set by scale (mostly the same for all), and their LR images.

    Args:
        folder: the folder of HR images, in one of this module's layouts.
        scales: the scales to read.
        lr: a folder of LR images: of one scale, or with a subfolder for each; None: read none.

    Raises:
        ValueError: in one line that names the file or folder: no image, one that cannot be read,
            an HR image without its LR image.
    """
    files = {scale: hr_files(folder, scale) for scale in scales}
    small = None
    if lr is not None:  # before minutes of decoding, so that a missing file is refused at once
        small = {scale: lr_files(lr, each, scale) for scale, each in files.items()}
    decoded = {each: read_files(each) for each in dict.fromkeys(files.values())}
    hr = {scale: decoded[each] for scale, each in files.items()}
    return hr, None if small is None else {s: read_files(each) for s, each in small.items()}


def hr_files(folder: Path, scale: int) -> tuple[Path, ...]:
    """List the HR files of a set at a scale.

    Raises:
        ValueError: there is no such folder, or no image in any layout's place.
    """
    folder = expanded(folder)
    for place in (folder / name.format(scale=scale) for name in _HR_WITH_LR):
        paired = tuple(path for path in _images(place) if path.stem.endswith("_HR"))
        if paired:
            return paired
    found = (_images(place) for place in (folder, *(folder / name for name in _HR)))
    return next(filter(None, found), ()) or tuple(files_in(folder))


def lr_files(folder: Path, hr: Sequence[Path], scale: int) -> tuple[Path, ...]:
    """Find the LR file of each HR file, in the same order.

    Raises:
        ValueError: there is no such folder, or an HR file has no LR file; names it in one line.
    """
    folder = expanded(folder)
    if not is_folder(folder):
        files_in(folder)  # raises the refusal
    places = [folder / place.format(scale=scale) for place in _LR]
    folder = next(filter(_images, places), folder)
    by_stem = {path.stem: path for path in _images(folder)}
    return tuple(_lr_of(path, scale, by_stem, folder) for path in hr)


def name_of(folder: Path) -> str:
    """Return the name of the set in a folder: `Set5` for Set5, Set5/HR and Set5/GTmod12 alike."""
    folder = expanded(folder).resolve()
    inner = folder.name in _HR or folder.name.startswith(_URBAN.partition("{")[0])
    return (folder.parent if inner and not folder.name.startswith("DIV2K") else folder).name


def _lr_of(hr: Path, scale: int, by_stem: dict[str, Path], folder: Path) -> Path:
    for name in _lr_names(hr.stem, scale):
        if name in by_stem:
            return by_stem[name]
    example = next(_lr_names(hr.stem, scale))
    raise ValueError(f"{folder} holds no LR image of {hr.name} at x{scale}, such as {example}.png")


def _lr_names(hr: str, scale: int) -> Iterator[str]:
    """Yield the possible stems of the LR file that belongs to the HR file of stem `hr`."""
    if hr.endswith("_HR"):
        yield f"{hr.removesuffix('_HR')}_LR{scale}"  # RealSR
        yield f"{hr.removesuffix('_HR')}_LR"  # Urban100
    yield f"{hr}x{scale}"  # DIV2K
    if hr.endswith(f"_x{scale}"):
        yield f"{hr.removesuffix(f'_x{scale}')}_x1"  # DRealSR
    yield hr


def _images(folder: Path) -> tuple[Path, ...]:
    """List the image files of a folder; none if it does not exist."""
    try:
        return tuple(files_in(folder))
    except ValueError:
        return ()
