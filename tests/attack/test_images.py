"""Images and folders of strangers, for training, for reports, and for the papers' table."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attempts import Attempt, done, fifo, harmless, refused, run_command, unique
from PIL import Image

from trainables.data.benchmarks import Benchmark
from trainables.data.images import read_images
from trainables.data.training import DataConfig, TrainingSet
from tune_sr import evaluate

Make = Callable[[Path], Path]


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image: Callable[[], Image.Image], name: str = "a.png", **how: Any) -> Make:
    def make(folder: Path) -> Path:
        image().save(folder / name, **how)
        return folder

    return make


def written(content: bytes, name: str = "a.png") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder

    return make


def encoded(kind: str, mode: str = "RGB", **how: Any) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **how)
    return buffer.getvalue()


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """A PNG of a size that its header says, which its data need not have."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@cache
def solid_png(width: int, height: int) -> bytes:
    """A whole PNG of one colour, small in its file; it takes a second to compress."""
    return png(width, height, data=(b"\0" + bytes(3 * width)) * height)


def solid(width: int, height: int) -> Make:
    return lambda folder: written(solid_png(width, height))(folder)


def deep_png(width: int, height: int, colour: int = 2) -> bytes:
    """A whole black PNG of 16 bits a channel."""
    row = b"\0" + bytes({0: 2, 4: 4, 2: 6, 6: 8}[colour] * width)
    return png(width, height, depth=16, colour=colour, data=row * height)


def deep_tiff(**tags: int) -> bytes:
    """A TIFF of 16-bit RGB, 48 by 40, black, whose tags may have other values."""
    has = {"width": 48, "height": 40, "meaning": 2, "channels": 3, "bits": 16, "planes": 1, **tags}
    fields = [
        (256, 4, 1, has["width"]),
        (257, 4, 1, has["height"]),
        (258, 3, 3, 8 + 2 + 10 * 12 + 4),  # where the bits of each channel are
        (259, 3, 1, 1),
        (262, 3, 1, has["meaning"]),
        (273, 4, 1, has.get("pixels", 8 + 2 + 10 * 12 + 4 + 6)),
        (277, 3, 1, has["channels"]),
        (278, 4, 1, has["height"]),
        (279, 4, 1, 48 * 40 * 6),
        (284, 3, 1, has["planes"]),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(fields))
    body = b"".join(struct.pack("<HHII", *each) for each in fields)
    return head + body + bytes(4) + struct.pack("<3H", *[has["bits"]] * 3) + bytes(48 * 40 * 6)


# --- kinds of files that a folder may hold, each for every reader ---------------------------------

GOOD: dict[str, Make] = {
    "grey": saved(lambda: picture("L")),
    "black and white": saved(lambda: picture("1")),
    "a palette": saved(lambda: picture("P")),
    "grey with alpha": saved(lambda: picture("LA")),
    "alpha": saved(lambda: picture("RGBA")),
    "CMYK": saved(lambda: picture("CMYK"), "a.jpg"),
    "YCbCr": saved(lambda: picture("YCbCr"), "a.jpg"),
    "Lab": saved(lambda: picture("LAB"), "a.tif"),
    "an animation": saved(picture, "a.webp", save_all=True, append_images=[picture()], duration=10),
    "pages": saved(picture, "a.tif", save_all=True, append_images=[picture()]),
    "a progressive JPEG": saved(picture, "a.jpg", progressive=True),
    "a bitmap": saved(picture, "a.bmp"),
    "a JPEG called PNG": written(encoded("JPEG")),
    "a capital suffix": saved(picture, "a.PNG"),
    "16 bits": saved(lambda: Image.fromarray(np.zeros((48, 48), np.uint16))),
    "16 bits in a TIFF": saved(lambda: Image.fromarray(np.zeros((48, 48), np.uint16)), "a.tif"),
    "16 bits in colour": written(deep_png(48, 48)),
    "16 bits of a TIFF in colour": written(deep_tiff(), "a.tif"),
    "16 bits in grey with alpha": written(deep_png(48, 48, colour=4)),
    "16 bits in colour with alpha": written(deep_png(48, 48, colour=6)),
    "an upright flag": saved(picture, "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    "two names that differ in case": lambda folder: saved(picture, "A.png")(
        saved(picture, "a.png")(folder)
    ),
    "hidden files beside": lambda folder: saved(picture)(written(b"x", ".a.png")(folder)),
    "a FIFO beside": lambda folder: saved(picture)(fifo(folder / "b.png").parent),
    "a folder called PNG beside": lambda folder: saved(picture)(_folder(folder, "b.png")),
    "a dead link beside": lambda folder: saved(picture)(_link(folder, "b.png", "/nowhere")),
    "other files beside": lambda folder: saved(picture)(written(b"x", "a.txt")(folder)),
    "a name of 200 characters": saved(picture, "a" * 200 + ".png"),
    "a name of escape codes": saved(picture, "\x1b[2J.png", format="PNG"),
    "a name of two lines": saved(picture, "a\nb.png", format="PNG"),
    "a name with a bar": saved(picture, "a|b.png", format="PNG"),
}
BAD: dict[str, Make] = {
    "nothing": lambda folder: folder,
    "empty": written(b""),
    "words": written(b"hello"),
    "a script": written(b"#!/bin/sh\ntouch /tmp/owned\n"),
    "an SVG": written(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "a PostScript file": written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n"),
    "a PDF": written(b"%PDF-1.4\n"),
    "a FITS": written(b"SIMPLE  =                    T" + b" " * 4000),
    "16 bits that are not there": written(png(4_000, 4_000, depth=16, data=b"\0" * 9)),
    "16 bits, 8,193 by 8,192": written(png(8_193, 8_192, depth=16)),
    "16 bits, 2**31 - 1 by 2**31 - 1": written(png(2**31 - 1, 2**31 - 1, depth=16)),
    "16 bits, a filter of no kind": written(png(48, 48, depth=16, data=(b"\7" + bytes(288)) * 48)),
    "16 bits of a palette": written(png(48, 48, depth=16, colour=3)),
    "a TIFF of 16 bits, 2**31 by 2": written(deep_tiff(width=2**31, height=2), "a.tif"),
    "a TIFF of 16 bits, higher than its pixels": written(deep_tiff(height=4_000), "a.tif"),
    "a TIFF of 16 bits in planes": written(deep_tiff(planes=2), "a.tif"),
    "a TIFF of 15 bits": written(deep_tiff(bits=15), "a.tif"),
    "a TIFF of 64 bits": written(deep_tiff(bits=64), "a.tif"),
    "a TIFF of 16 bits in 60,000 channels": written(deep_tiff(channels=60_000), "a.tif"),
    "a TIFF of 16 bits beyond its end": written(deep_tiff(pixels=2**31), "a.tif"),
    "a TIFF of 16 bits that means nothing": written(deep_tiff(meaning=99), "a.tif"),
    "32 bits": saved(lambda: Image.fromarray(np.zeros((48, 48), np.int32)), "a.tif"),
    "floats": saved(lambda: Image.fromarray(np.zeros((48, 48), np.float32)), "a.tif"),
    "NaN": saved(lambda: Image.fromarray(np.full((48, 48), np.nan, np.float32)), "a.tif"),
    "13,000 by 13,000": solid(13_000, 13_000),
    "8,193 by 8,192": solid(8_193, 8_192),
    "one row of 2**27": written(png(2**27, 1, data=b"\0")),
    "2**31 - 1 by 2**31 - 1": written(png(2**31 - 1, 2**31 - 1)),
    "0 by 0": written(png(0, 0)),
    "0 by 9": written(png(0, 9)),
    "4,000 by 4,000 that are not there": written(png(4_000, 4_000, data=b"\0" * 9)),
    "colour of no kind": written(png(9, 9, colour=9)),
    "depth of 7": written(png(9, 9, depth=7)),
    "a JPEG of 65,500 by 65,500": written(
        encoded("JPEG").replace(struct.pack(">HH", 40, 48), struct.pack(">HH", 65_500, 65_500)),
        "a.jpg",
    ),
    "a bitmap of 2**30 by 2**30": written(
        encoded("BMP")[:18] + struct.pack("<ii", 2**30, 2**30) + encoded("BMP")[26:], "a.bmp"
    ),
    "a bitmap of -2**31 rows": written(
        encoded("BMP")[:18] + struct.pack("<ii", 48, -(2**31)) + encoded("BMP")[26:], "a.bmp"
    ),
    "a GIF of 65,535 by 65,535": written(
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6)
        + b",\0\0\0\0" + struct.pack("<HH", 65_535, 65_535) + b"\0\x02\x02D\x01\0;"
    ),
    "a FIFO alone": lambda folder: fifo(folder / "a.png").parent,
    "a device": lambda folder: _link(folder, "a.png", "/dev/zero"),
    "a link to itself": lambda folder: _link(folder, "a.png", "a.png"),
    "images in a subfolder": lambda folder: saved(picture)(_folder(folder, "train")) and folder,
}  # fmt: skip
BAD |= {
    f"{kind} cut at {step}/8": written(encoded(kind)[: len(encoded(kind)) * step // 8], f"a.{end}")
    for kind, end in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"),
                      ("WEBP", "webp"))
    for step in range(1, 8)
}  # fmt: skip


def _folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder if name.endswith(".png") else folder / name


def _link(folder: Path, name: str, target: str) -> Path:
    (folder / name).symlink_to(target)
    return folder


def _training(folder: Path) -> object:
    return TrainingSet.read(DataConfig(images=str(folder)), colour="y", scales=(2,))


READERS: dict[str, Callable[[Path], object]] = {
    "held out": lambda folder: read_images(str(folder), "heldout", 252),
    "trained on": _training,
    "a benchmark": lambda folder: Benchmark.read(str(folder), (2, 3)),
}
READ = [
    Attempt(f"{name}, {reader}", READERS[reader], done(), prepare=make)
    for name, make in GOOD.items()
    for reader in READERS
]
READ += [
    Attempt(f"{name}, {reader}", READERS[reader], refused(), prepare=make, dangerous=True)
    for name, make in BAD.items()
    for reader in READERS
    # A benchmark's images may lie in a subfolder of a known name.
    if not (name == "images in a subfolder" and reader == "a benchmark") and " cut at " not in name
]
READ += [
    Attempt(f"{name}, {reader}", READERS[reader], harmless("a."), prepare=make)
    for name, make in BAD.items()
    for reader in READERS
    if " cut at " in name
]


def _flipped(kind: str, end: str, share: float) -> Make:
    content = bytearray(encoded(kind))
    content[int(share * len(content))] ^= 0xFF
    return written(bytes(content), f"a.{end}")


READ += [
    Attempt(
        f"{kind} with a byte flipped at {step}/24",
        READERS["held out"],
        harmless(),
        prepare=_flipped(kind, end, step / 24),
        dangerous=True,
    )
    for kind, end in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"),
                      ("WEBP", "webp"))
    for step in range(24)
]  # fmt: skip

# --- the largest that is looked at ----------------------------------------------------------------

LARGE = [
    Attempt(
        "8,192 by 8,192, cropped as it is held out",
        READERS["held out"],
        done(lambda images: images.arrays[0].shape == (252, 252, 3)),
        prepare=solid(8_192, 8_192),
        dangerous=True,
        seconds=20,  # to decode it
    ),
]

# --- folders that are none ------------------------------------------------------------------------

PLACES: dict[str, Make] = {
    "nowhere": lambda folder: folder / "x",
    "a file": lambda folder: written(b"", "x")(folder) / "x",
    "a FIFO": lambda folder: fifo(folder / "x"),
    "a name of 300 characters": lambda folder: folder / ("x" * 300),
    "a path of 5,000 characters": lambda folder: folder / ("x/" * 2500),
    "a zero byte": lambda folder: folder / "x\0y",
    "an unknown user's": lambda folder: Path("~nobody-of-that-name/images"),
    "a dead link": lambda folder: _link(folder, "x", "/nowhere/at/all") / "x",
    "a link to itself as a folder": lambda folder: _link(folder, "x", "x") / "x",
    "undecodable": lambda folder: folder / "x\udcff",
    "escape codes": lambda folder: folder / "\x1b[2J",
    "a device as a folder": lambda folder: Path("/dev/null"),
}
READ += [
    Attempt(f"{name}, {reader}", READERS[reader], refused(), prepare=make, dangerous=True)
    for name, make in PLACES.items()
    for reader in READERS
]


def _as_nobody(act: Callable[[Path], object]) -> Callable[[Path], object]:
    """As a user who is not root, whom a folder's mode keeps out; for a child process only."""

    def acted(path: Path) -> object:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return act(path)

    return acted


def _closed(mode: int, *, file: bool) -> Make:
    """A folder below /tmp that everybody may enter but for `mode`."""

    def make(_: Path) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="attack-"))
        saved(picture)(folder)
        (folder / "a.png" if file else folder).chmod(mode)
        folder.chmod(0o755) if file else None
        return folder

    return make


READ += [
    Attempt(
        f"{what} of mode {mode:03o}, {reader}",
        _as_nobody(READERS[reader]),
        refused(),
        prepare=_closed(mode, file=what == "an image"),
        dangerous=True,
    )
    for what, mode in (("a folder", 0o000), ("a folder", 0o300), ("an image", 0o000))
    for reader in READERS
]

# --- whole commands -------------------------------------------------------------------------------


def command(name: str, make: Make, *words: str) -> Attempt:
    return Attempt(
        f"evaluate: {name}",
        lambda folder: run_command(evaluate.main, "--data", folder, "--scales", "2"),
        refused(*words),
        prepare=make,
        dangerous=True,
    )


COMMANDS = [
    command("13,000 by 13,000", BAD["13,000 by 13,000"], "13000x13000", "67,108,864 pixels"),
    command("a folder nobody may read", PLACES["nowhere"], "is no folder"),
    command("an empty file", BAD["empty"], "a.png"),
    command("a FIFO alone", BAD["a FIFO alone"], "no image"),
    command("an image of 3 pixels", saved(lambda: picture(size=(3, 3))), "too small"),
    command("an unknown user's folder", PLACES["an unknown user's"]),
    command("a long path", PLACES["a path of 5,000 characters"]),
    Attempt(
        "evaluate: a set called by escape codes and bars",
        lambda folder: run_command(evaluate.main, "--data", folder, "--scales", "2"),
        done(lambda out: "\x1b" not in out and "a\\|b" in out),
        prepare=lambda folder: saved(picture)(_folder(folder, "\x1b[2Ja|b")),
    ),
    Attempt(
        "evaluate: an unreadable folder",
        _as_nobody(lambda folder: run_command(evaluate.main, "--data", folder)),
        refused("permission denied"),
        prepare=_closed(0o300, file=False),
        dangerous=True,
    ),
]
ATTEMPTS = unique([*READ, *LARGE, *COMMANDS])


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_it_holds(attempt: Attempt, tmp_path: Path) -> None:
    attempt.check(tmp_path)
