"""Reads pictures of 16 bits a channel, of which Pillow keeps only the high bytes in colour."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]
"""Left, top, right and lower border of a part of an image, in pixels."""

_FLIPPED = {"B": "L", "L": "B", "N": "L" if sys.byteorder == "big" else "B"}
"""The byte order under which Pillow's raw modes take the other byte of each 16-bit value."""
_IN_COLOUR = tuple(f"{kind};16{order}" for kind in ("RGB", "RGBX", "RGBA") for order in _FLIPPED)
_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I;16R")
_GREY_AND_ALPHA = "LA;16B"
_BITS, _MEANING, _PLANES = 258, 262, 284
"""TIFF's tags: bits of each channel; 0 where white is 0; 2 where each channel is stored apart."""


class DepthError(ValueError):
    """A picture's values have more than 8 bits, in a form that cannot be read here."""


def is_deep(image: Image) -> bool:
    """Whether an opened image, not loaded yet, has more than 8 bits in a channel."""
    # Pillow opens 16-bit RGB as 8 bits: only the decoder's raw mode, or TIFF's own tag, shows it.
    wide = max(_tag(image, _BITS, (8,))) > 8
    return wide or image.mode.startswith(("I", "F")) or ";16" in _raw_mode(image)


def read_deep(path: Path, image: Image, box: Box | None = None) -> NDArray[np.uint16]:
    """Read all 16 bits of a PNG or TIFF: H W C, C in 1 (grey), 2, 3 (RGB), 4; alpha is last.

    Colour is decoded twice, for the high and for the low byte of each value, so every compression
    and interlacing that Pillow knows is read, with Pillow's checks.

    Args:
        path: the file.
        image: the same file, opened by Pillow and not loaded yet.
        box: the part to keep; None: all.

    Raises:
        DepthError: another format; values of 12, 32 or 64 bits, floats, CMYK, premultiplied alpha,
            or a TIFF that stores each channel apart.
        OSError: the file is damaged or cut short (Pillow raises other errors, too).
    """
    raw_mode = _raw_mode(image)
    known = image.format in ("PNG", "TIFF") and _tag(image, _PLANES, 1) == 1
    if known and image.mode.startswith("I;16") and raw_mode in _GREY:
        grey = np.array(cropped(image, box), np.uint16)[..., None]
        return ~grey if _tag(image, _MEANING, 1) == 0 else grey
    if known and raw_mode == _GREY_AND_ALPHA:  # its four bytes are read as those of four channels
        return _decoded(path, "RGBA", box).view(">u2").astype(np.uint16)
    if not known or raw_mode not in _IN_COLOUR:
        raise DepthError(f"{image.mode} of more than 8 bits in {image.format}: save it as PNG")
    deep = _decoded(path, raw_mode, box).astype(np.uint16)
    deep <<= 8
    deep |= _decoded(path, raw_mode[:-1] + _FLIPPED[raw_mode[-1]], box)
    return deep


def cropped(image: Image, box: Box | None) -> Image:
    """Crop an image to `box`; None: leave it whole."""
    return image if box is None else image.crop(box)


def to_bytes(deep: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Scale 0..65535 to 0..255, rounded to the nearest level: 257 of the values make one level.

    >>> to_bytes(np.array([[0, 128, 129, 257, 65535]], np.uint16)).tolist()
    [[0, 0, 1, 1, 255]]
    """
    levels = np.empty(deep.shape, np.uint8)
    for wide, narrow in zip(deep, levels, strict=True):  # row by row: sums take four bytes each
        narrow[...] = (wide.astype(np.uint32) + 128) // 257
    return levels


def _tag(image: Image, number: int, default: Any) -> Any:
    """Return a tag of a TIFF; `default` where it is absent, and for other formats."""
    return getattr(image, "tag_v2", {}).get(number, default)


def _raw_mode(image: Image) -> str:
    """Return the layout of an image's stored pixels, such as `RGB;16B`; empty if unknown."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _decoded(path: Path, raw_mode: str, box: Box | None) -> NDArray[np.uint8]:
    """Decode the file as if its pixels had another layout of as many bytes."""
    from PIL import Image
    from PIL.ImageFile import ImageFile

    with Image.open(path) as image:
        assert isinstance(image, ImageFile)
        image.tile = [each._replace(args=_with(raw_mode, each.args)) for each in image.tile]
        return np.array(cropped(image, box))


def _with(raw_mode: str, args: Any) -> Any:
    return (raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode
