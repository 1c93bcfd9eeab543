"""PNG files of 16 bits: what is written is read back, here and by Pillow; filters are undone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tune_sr.upscaling.png16 import SIGNATURE, _chunk, is_16_bit_png, read_png16, write_png16


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_there_and_back(channels: int, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 2**16, (7, 5, channels), dtype=np.uint16)
    path = tmp_path / "x.png"
    write_png16(path, drawn, icc=b"a profile", exif=b"Exif\0\0II*\0")
    assert is_16_bit_png(path)
    assert np.array_equal(read_png16(path), drawn)
    with Image.open(path) as image:
        assert image.size == (5, 7)
        assert image.info["icc_profile"] == b"a profile"
        high = np.asarray(image).astype(np.int64)
    if channels == 1:
        assert np.array_equal(high, drawn[..., 0])
    elif channels > 2:  # of which Pillow keeps the high bytes
        assert np.array_equal(high, drawn >> 8)


def filtered(pixels: np.ndarray, kind: int) -> bytes:
    """One pixel and one byte at a time, as the specification puts it."""
    height, width, size = pixels.shape
    padded = np.zeros((height + 1, width + 1, size), int)
    padded[1:, 1:] = pixels
    lines = b""
    for y in range(height):
        line = [kind]
        for x in range(width):
            for k in range(size):
                a, b, c = (
                    int(padded[y + 1, x, k]),
                    int(padded[y, x + 1, k]),
                    int(padded[y, x, k]),
                )
                p = a + b - c
                near = min((abs(p - a), 0), (abs(p - b), 1), (abs(p - c), 2))[1]
                guess = [0, a, b, (a + b) // 2, (a, b, c)[near]][kind]
                line.append((int(pixels[y, x, k]) - guess) % 256)
        lines += bytes(line)
    return lines


@pytest.mark.parametrize("kind", range(5))
def test_every_filter_is_undone(kind: int, tmp_path: Path) -> None:
    drawn = np.random.default_rng(kind).integers(0, 2**16, (6, 4, 3), dtype=np.uint16)
    bytes_of = drawn.astype(">u2").view(np.uint8).reshape(6, 4, 6)
    header = struct.pack(">IIBBBBB", 4, 6, 16, 2, 0, 0, 0)
    path = tmp_path / "x.png"
    packed = zlib.compress(filtered(bytes_of, kind))
    parts = [_chunk(b"IHDR", header), _chunk(b"IDAT", packed[:9]), _chunk(b"IDAT", packed[9:])]
    path.write_bytes(SIGNATURE + b"".join(parts) + _chunk(b"IEND", b""))
    assert np.array_equal(read_png16(path), drawn)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"interlace": 1}, "interlaced"),
        ({"depth": 8}, "not a 16-bit PNG: 8 bits"),
        ({"colour": 3}, "colour type 3"),
        ({"height": 9}, "cut short"),
        ({"kind": 7}, "an unknown filter"),
    ],
)
def test_what_cannot_be_read_is_refused(change: dict[str, int], words: str, tmp_path: Path) -> None:
    said = {"height": 2, "depth": 16, "colour": 2, "interlace": 0, "kind": 0, **change}
    sizes = 3, said["height"], said["depth"], said["colour"], 0, 0, said["interlace"]
    line = bytes([said["kind"]]) + bytes(18)
    path = tmp_path / "x.png"
    parts = [
        _chunk(b"IHDR", struct.pack(">IIBBBBB", *sizes)),
        _chunk(b"IDAT", zlib.compress(2 * line)),
    ]
    path.write_bytes(SIGNATURE + b"".join(parts) + _chunk(b"IEND", b""))
    with pytest.raises(ValueError, match=words):
        read_png16(path)
