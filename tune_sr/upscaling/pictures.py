"""Reads pictures of any kind as arrays, with what a result keeps of them, and writes results."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from trainables.data.deep import is_deep, read_deep
from trainables.data.images import without_warnings
from trainables.limits import PIXELS
from tune_sr.storage.disk import appearing
from tune_sr.upscaling.plan import WRITABLE
from tune_sr.upscaling.png16 import write_png16

Array = NDArray[Any]
"""Pixels, H W C: uint8 or uint16."""

_ORIENTATION, _EXIF_IFD, _WIDTH_TAG, _HEIGHT_TAG = 0x0112, 0x8769, 0xA002, 0xA003
_PAGED = "MPO"
"""A phone's JPEG with further pictures behind the first, which is the photograph."""
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
}
"""Pillow's format and its settings by suffix of the result. TIFF is not compressed: libtiff, which
would do it, cannot write EXIF."""
assert set(_FORMATS) == set(WRITABLE), "the plan lists the table's keys"


class AnimatedError(ValueError):
    """A picture has more than one frame."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright.

    Attributes:
        pixels: H W C, uint8 or uint16; C is 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha).
        icc: its colour profile; None without one, or if it was converted.
        exif: its EXIF data with orientation 1; None without.
        notes: conversions that were made, a few words each.
    """

    pixels: Array
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.pixels.shape[2] in (2, 4)

    @property
    def levels(self) -> int:
        """The value of white: 255 or 65,535."""
        return int(np.iinfo(self.pixels.dtype).max)


def read_picture(path: Path) -> Picture:
    """Read a picture: turned upright, grey stays grey, 16 bits stay 16 bits, palettes become RGB.

    Raises:
        AnimatedError: it has more than one frame.
        ValueError: it cannot be read, or is of a kind that would lose what it holds.
    """
    try:
        with without_warnings(), Image.open(path) as image:
            width, height = image.size
            if width * height > PIXELS:
                raise ValueError(f"{width}x{height}, more than {PIXELS:,} pixels: cut it up")
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != _PAGED:
                raise AnimatedError(f"{frames} frames")
            icc = image.info.get("icc_profile")
            pixels, notes = _decoded(path, image)  # first: to ask a PNG for its EXIF is to load it
            orientation = image.getexif().get(_ORIENTATION, 1)
            if notes and "CMYK" in notes[0]:
                icc = None
            upright = _turned(pixels, orientation)
            return Picture(upright, icc, _exif(image, upright), notes)
    except MemoryError:
        raise ValueError("too little memory") from None
    except (AnimatedError, ValueError):
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture in the format of the path's suffix; the file appears whole, or not at all.

    Raises:
        ValueError: the format holds no alpha, or not 16 bits.
        OSError: it cannot be written.
    """
    kind, settings = _FORMATS[path.suffix.lower()]
    deep = picture.levels > 255
    if picture.has_alpha and kind == "JPEG":
        raise ValueError(f"{path.suffix} holds no alpha channel: name a .png")
    if deep and kind != "PNG":
        raise ValueError(f"{path.suffix} is written with 8 bits, this picture has 16: name a .png")
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as fresh:
        if deep:
            write_png16(fresh, picture.pixels, icc=picture.icc, exif=picture.exif)
            return
        pixels = picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels
        kept = {"icc_profile": picture.icc, "exif": picture.exif}
        given = {key: value for key, value in kept.items() if value is not None}
        Image.fromarray(pixels).save(fresh, format=kind, **settings, **given)


def _decoded(path: Path, image: Image.Image) -> tuple[Array, tuple[str, ...]]:
    """Decode the pixels: H W C, and the conversions that were made."""
    if is_deep(image):
        deep = read_deep(path, image)
        image.load()  # so that Pillow drops the orientation of a TIFF, by which it has turned it
        return deep, ()
    if image.mode == "CMYK":
        return np.array(_from_cmyk(image)), ("CMYK converted to sRGB",)
    alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA", "La")
    wanted = ("LA" if alpha else "L") if grey else ("RGBA" if alpha else "RGB")
    notes = () if grey or image.mode in ("RGB", "RGBA") else (f"{_named(image.mode)} to {wanted}",)
    pixels = np.array(image.convert(wanted))
    return (pixels[..., None] if pixels.ndim == 2 else pixels), notes


def _named(mode: str) -> str:
    return "palette converted" if mode in ("P", "PA") else f"{mode} converted"


def _from_cmyk(image: Image.Image) -> Image.Image:
    """Convert CMYK to sRGB by its profile; without a usable one by the plain complement."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # OSError: it is no profile at all
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _turned(pixels: Array, orientation: int) -> Array:
    """Turn an image upright, as EXIF's orientation 1 to 8 says it is stored."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _exif(image: Image.Image, pixels: Array) -> bytes | None:
    exif = image.getexif()
    if not exif:
        return None
    exif[_ORIENTATION] = 1
    if _EXIF_IFD in exif:  # asked for where there is none, it would be added
        inner = exif.get_ifd(_EXIF_IFD)
        for tag, side in ((_WIDTH_TAG, pixels.shape[1]), (_HEIGHT_TAG, pixels.shape[0])):
            if tag in inner:
                inner[tag] = side
    return exif.tobytes()
