"""Reading 16 bits a channel: every layout that Pillow opens, all of each value, nothing else."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from trainables.data.deep import DepthError, is_deep, read_deep, to_bytes

DRAWN = np.random.default_rng(0).integers(0, 2**16, (7, 5, 4), dtype=np.uint16)


def read(path: Path, **how: Any) -> np.ndarray:
    with Image.open(path) as image:
        assert is_deep(image)
        return read_deep(path, image, **how)


def png(path: Path, sizes: tuple[int, ...], lines: bytes) -> Path:
    """A PNG put together by hand, its pixels in two chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    packed = zlib.compress(lines)
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *sizes)), chunk(b"IDAT", packed[:9])]
    parts += [chunk(b"IDAT", packed[9:]), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


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


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
@pytest.mark.parametrize("kind", range(5))
def test_a_png_of_every_kind_and_filter(
    kind: int, colour: int, channels: int, tmp_path: Path
) -> None:
    drawn = DRAWN[..., :channels]
    levels = drawn.astype(">u2").view(np.uint8).reshape(7, 5, 2 * channels)
    path = png(tmp_path / "x.png", (5, 7, 16, colour, 0, 0, 0), filtered(levels, kind))
    assert np.array_equal(read(path), drawn)
    assert np.array_equal(read(path, box=(1, 2, 4, 6)), drawn[2:6, 1:4])


def test_an_interlaced_png(tmp_path: Path) -> None:
    """One pixel, which is all of Adam7's first pass; six passes hold nothing."""
    path = png(tmp_path / "x.png", (1, 1, 16, 2, 0, 0, 1), b"\0\x01\x02\x03\x04\x05\x06")
    assert read(path).tolist() == [[[0x0102, 0x0304, 0x0506]]]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tiff_of_every_kind(
    channels: int, order: str, compression: str | None, tmp_path: Path
) -> None:
    drawn = DRAWN[..., 0] if channels == 1 else DRAWN[..., :channels]
    kind = {"photometric": "minisblack" if channels == 1 else "rgb", "compression": compression}
    alpha = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(tmp_path / "x.tif", drawn, byteorder=order, **kind, **alpha)
    assert np.array_equal(read(tmp_path / "x.tif"), DRAWN[..., :channels])


def test_a_tiff_whose_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", DRAWN[..., 0], photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "x.tif"), 65535 - DRAWN[..., :1])


@pytest.mark.parametrize(
    ("values", "how"),
    [
        (DRAWN.astype(np.uint32)[..., 0], {}),
        (DRAWN.astype(np.float32)[..., 0], {}),
        (DRAWN, {"photometric": "separated"}),
        (DRAWN, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
        (DRAWN[..., :3].transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}),
        (
            DRAWN[..., :3].transpose(2, 0, 1),
            {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"},
        ),
    ],
    ids=["32 bits", "floats", "CMYK", "premultiplied", "planes", "packed planes"],
)
def test_what_would_lose_something_is_refused(
    values: np.ndarray, how: dict[str, Any], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "x.tif", values, **how)
    with pytest.raises(DepthError, match="more than 8 bits in TIFF: save it as PNG"):
        read(tmp_path / "x.tif")


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_a_png_cut_short_is_an_error(colour: int, tmp_path: Path) -> None:
    path = png(tmp_path / "x.png", (5, 700, 16, colour, 0, 0, 0), bytes(600))
    with pytest.raises(OSError, match="truncated"):
        read(path)


def test_8_bits_are_not_deep(tmp_path: Path) -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        Image.new(mode, (4, 4)).save(tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as image:
            assert not is_deep(image)


def test_to_bytes_rounds_to_the_nearest_level() -> None:
    every = np.arange(2**16, dtype=np.uint16)[:, None]
    levels = to_bytes(every)
    assert np.array_equal(levels, np.rint(every / 257))
    assert (levels[0], levels[-1]) == (0, 255)
    assert np.array_equal(
        to_bytes(np.arange(256, dtype=np.uint16)[:, None] * 257)[:, 0], range(256)
    )
