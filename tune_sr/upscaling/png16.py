"""Writes PNG files of 16 bits a channel, which Pillow cannot write in colour.

The format is [PNG], the W3C's "Portable Network Graphics Specification", third edition.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Colour types ([PNG] table 9) by channels: grey, grey and alpha, RGB, RGB and alpha."""
_STEP = 2**22
"""Bytes of compressed pixels in a chunk."""


def write_png16(
    path: Path,
    image_HWC: NDArray[np.uint16],
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a 16-bit PNG of 1, 2, 3 or 4 channels; rows are filtered by the one above (`Up`)."""
    height, width, channels = image_HWC.shape
    colour = _COLOUR_TYPES[channels]
    rows = image_HWC.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), 2, np.uint8)
    filtered[:, 1:] = rows
    filtered[1:, 1:] -= rows[:-1]
    packed = zlib.compress(filtered.tobytes(), 6)
    with path.open("wb") as file:
        file.write(SIGNATURE)
        header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
        file.write(_chunk(b"IHDR", header))
        if icc is not None:
            file.write(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
        if exif is not None:
            file.write(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
        for start in range(0, len(packed), _STEP):
            file.write(_chunk(b"IDAT", packed[start : start + _STEP]))
        file.write(_chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
