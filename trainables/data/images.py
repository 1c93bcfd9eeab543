"""Reads images as arrays: those of a folder, or the photographs inside the scikit-image wheel."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data.deep import Box, DepthError, cropped, is_deep, read_deep, to_bytes
from trainables.limits import PIXELS
from trainables.paths import expanded, is_folder, why_no_file

Pixels = NDArray[np.uint8]
Part = Literal["train", "heldout"]

PHOTOS = "photos"
"""The name of the built-in set, accepted in place of a folder."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_PHOTOS: dict[Part, tuple[tuple[str, ...], str]] = {
    "train": (
        (
            "chelsea.png",
            "camera.png",
            "brick.png",
            "gravel.png",
            "grass.png",
            "coins.png",
            "ihc.png",
            "hubble_deep_field.jpg",
        ),
        "e7c94cca43e4b692b58e5067d03a513ebab4fab566f39f2b791cff4f87efffca",
    ),
    "heldout": (
        ("astronaut.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"),
        "257aa9848d15f33f0e5f26294a83b7b44c079bc8ea4c12eff12d9a7e267d676b",
    ),
}
"""Files of the wheel and the digest of their pixels, by part. Not used: motorcycle_right (the scene
of motorcycle_left), moon, cell, drawings and text."""


@dataclass(frozen=True)
class Images:
    """Decoded RGB images: uint8 arrays of shape H W 3, and the names of their files."""

    names: tuple[str, ...]
    arrays: tuple[Pixels, ...]

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """Return the SHA-256 of names, shapes and pixels, as 64 hexadecimal digits."""
        sha = hashlib.sha256()
        for name, array in zip(self.names, self.arrays, strict=True):
            sha.update(f"{name} {array.shape} ".encode())
            sha.update(array.tobytes())
        return sha.hexdigest()


def read_images(source: str, part: Part, crop: int | None = None) -> Images:
    """Read the images of a folder in the order of their names, or a part of the built-in set.

    Files with other suffixes, hidden files and subfolders are skipped. Grey images become RGB; an
    alpha channel is dropped with one warning. PNG and TIFF of 16 bits a channel are rounded to the
    nearest of the 256 levels, 65535 being 255: images are kept, shared by trials and copied to a
    GPU as bytes, for training and evaluation alike, so no more of them can be used.

    Args:
        source: a folder, or `photos`.
        part: the part of the built-in set; a folder is read whole.
        crop: side in pixels of the central square that is kept of each image of a folder; smaller
            images, and all if None, are kept whole.

    Raises:
        ValueError: in one line that names the file: no such folder, no image in it, a file that
            cannot be decoded, values of more than 16 bits, more than `PIXELS` pixels.
    """
    return photos(part) if source == PHOTOS else read_files(files_in(expanded(source)), crop)


def photos(part: Part) -> Images:
    """Read a part of the built-in set: photographs inside the scikit-image wheel, without download.

    Raises:
        ValueError: this release of scikit-image lacks a file, or decodes to other pixels than the
            ones recorded here.
    """
    names, recorded = _PHOTOS[part]
    found = find_spec("skimage")
    assert found is not None, "scikit-image is a dependency of this package"
    assert found.origin is not None, "scikit-image is a regular package"
    folder = Path(found.origin).parent / "data"
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ValueError(f"photos: this scikit-image has no {absent[0]}; name a folder instead")
    images = read_files([folder / name for name in names])
    if images.digest() != recorded:
        raise ValueError(
            f"photos: this scikit-image or Pillow decodes the {part} photographs to other pixels, "
            "so results would not compare; install a tested release or name a folder"
        )
    return images


def write_image(path: Path, image_HWC: Pixels) -> None:
    """Write RGB bytes (H W 3) in the format of the path's suffix; creates the folder."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HWC).save(path)


def files_in(folder: Path) -> list[Path]:
    """List the image files of a folder by name: those that `read_images` reads.

    Raises:
        ValueError: there is no such folder, it cannot be read, or there is no image in it.
    """
    if not is_folder(folder):
        what = "is not a folder" if os.path.lexists(folder) else "does not exist"
        raise ValueError(f"{folder} {what}; name a folder of images, or {PHOTOS}")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"{folder} cannot be read ({reason})") from None
    files = [
        path
        for path in entries
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and why_no_file(path) in (None, "permission denied")
    ]
    if not files:
        inside = [path.name for path in entries if is_folder(path)]
        hint = f"; did you mean its subfolder {inside[0]}?" if inside else ""
        raise ValueError(f"{folder} holds no image ({' '.join(SUFFIXES)}){hint}")
    return files


def read_files(files: Sequence[Path], crop: int | None = None) -> Images:
    """Read images from files, in their order, with the conversions and errors of `read_images`.

    Args:
        files: the files.
        crop: side in pixels of the central square that is kept of each image; None: all of it.
    """
    decoded = [_decode(file, crop) for file in files]
    _warn_of_alpha([file for file, (_, alpha) in zip(files, decoded, strict=True) if alpha])
    return Images(tuple(file.name for file in files), tuple(array for array, _ in decoded))


def _decode(file: Path, crop: int | None) -> tuple[Pixels, bool]:
    """Decode one file; return its pixels, and whether it has an alpha channel."""
    from PIL import Image

    try:
        with without_warnings(), Image.open(file) as image:
            width, height = image.size
            if width * height > PIXELS:
                rule = f"{width}x{height}, more than {PIXELS:,} pixels: crop it"
                raise _TooLargeError(f"{file} is {rule}")
            alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            box = _middle(width, height, crop)
            if is_deep(image):
                array = _in_rgb(to_bytes(read_deep(file, image, box)))
            else:
                array = np.array(cropped(image, box).convert("RGB"))
    except _TooLargeError:
        raise
    except DepthError as error:
        raise ValueError(f"{file}: {error}") from None
    except MemoryError:
        raise ValueError(f"{file} cannot be read: too little memory") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{file} cannot be read as an image ({reason}); replace it") from error
    return array, alpha


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings of large and damaged images, which are refused here anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _TooLargeError(ValueError):
    """An image has more than `PIXELS` pixels."""


def _middle(width: int, height: int, crop: int | None) -> Box | None:
    """Return the central square of side `crop`; None, the whole, if a side is smaller."""
    if crop is None or min(width, height) < crop:
        return None
    left, top = (width - crop) // 2, (height - crop) // 2
    return left, top, left + crop, top + crop


def _in_rgb(levels_HWC: Pixels) -> Pixels:
    """Drop alpha, the last of two or four channels, and give grey three equal channels."""
    colour = levels_HWC[..., : 3 if levels_HWC.shape[2] > 2 else 1]
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)))


def _warn_of_alpha(files: Sequence[Path]) -> None:
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        warnings.warn(f"{files[0]}{more}: alpha channel dropped", stacklevel=4)
