"""Reads and writes PNG files of 16 bits a channel, of which Pillow keeps only 8 bits in colour.

The format is [PNG], the W3C's "Portable Network Graphics Specification", third edition.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Channels by colour type ([PNG] table 9): grey, RGB, grey and alpha, RGB and alpha."""
_COLOUR_TYPES = {channels: kind for kind, channels in _CHANNELS.items()}
_STEP = 2**22
"""Bytes of compressed pixels in a chunk."""


def is_16_bit_png(path: Path) -> bool:
    """Whether a file begins as a PNG whose channels have 16 bits."""
    with path.open("rb") as file:
        head = file.read(33)
    return head[:8] == SIGNATURE and head[12:16] == b"IHDR" and head[24] == 16


def read_png16(path: Path) -> NDArray[np.uint16]:
    """Read the pixels of a 16-bit PNG: H W C, C in 1 (grey), 2, 3 (RGB), 4; alpha is last.

    Checksums are not checked, since Pillow has read the file.

    Raises:
        ValueError: the file is cut short, interlaced, or not a 16-bit PNG without palette.
    """
    content = path.read_bytes()
    chunks = list(_chunks(content))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("not a PNG")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 16 or colour not in _CHANNELS:
        raise ValueError(f"not a 16-bit PNG: {depth} bits, colour type {colour}")
    if interlace:
        raise ValueError("an interlaced PNG of 16 bits: save it without interlacing")
    channels = _CHANNELS[colour]
    row = 1 + 2 * channels * width
    unpacker = zlib.decompressobj()
    packed = b"".join(data for kind, data in chunks if kind == b"IDAT")
    raw = unpacker.decompress(packed, height * row)
    if len(raw) < height * row:
        raise ValueError("its pixels are cut short")
    lines = np.frombuffer(raw, np.uint8).reshape(height, row)
    filtered = lines[:, 1:].reshape(height, width, 2 * channels)
    pixels = _unfiltered(lines[:, 0], filtered)
    return pixels.view(">u2").astype(np.uint16)


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


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        yield content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        place += 12 + length


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _unfiltered(kinds: NDArray[np.uint8], filtered: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filters of all rows ([PNG] section 9.2): H W bytes-of-a-pixel to the same.

    A pixel needs its left, upper and upper left neighbours, so all pixels of one anti-diagonal are
    computed at once: H + W - 1 steps instead of H W.

    Args:
        kinds: the filter of each row: 0 None, 1 Sub, 2 Up, 3 Average, 4 Paeth.
        filtered: the rows.
    """
    if int(kinds.max(initial=0)) > 4:
        raise ValueError("an unknown filter: the file is damaged")
    height, width, size = filtered.shape
    # Bordered by a row and a column of zeros, which stand for the neighbours beyond the edges.
    out = np.zeros((height + 1, width + 1, size), np.uint8)
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left, up, corner = out[y + 1, x], out[y, x + 1], out[y, x]
        predicted = _predicted(
            kinds[y, None], *(each.astype(np.int16) for each in (left, up, corner))
        )
        out[y + 1, x + 1] = filtered[y, x] + predicted.astype(np.uint8)
    return np.ascontiguousarray(out[1:, 1:])


Diagonal = NDArray[np.int16]


def _predicted(kind: NDArray[np.uint8], left: Diagonal, up: Diagonal, corner: Diagonal) -> Diagonal:
    """Compute each filter's prediction of bytes from their neighbours; Paeth's as [PNG] 9.4."""
    estimate = left + up - corner
    far_left, far_up, far_corner = (abs(estimate - each) for each in (left, up, corner))
    nearest_above = np.where(far_up <= far_corner, up, corner)
    paeth = np.where((far_left <= far_up) & (far_left <= far_corner), left, nearest_above)
    by_kind: Mapping[int, Diagonal] = {1: left, 2: up, 3: (left + up) // 2, 4: paeth}
    result = np.zeros_like(left)
    for number, values in by_kind.items():
        result = np.where(kind == number, values, result)
    return result
